// Bytes and bits against Python's.
import assert from 'node:assert/strict';
import test from 'node:test';
import { bytes, fixture, floats, load, picture, rgb } from './subject.mjs';

const { decodePng } = await load('png.js');
const { orientationOf, upright } = await load('orientation.js');
const { fit, normalize } = await load('preprocess.js');
const { boxToPhoto, seenEdges } = await load('framing.js');
const { suppress } = await load('nms.js');
const { inCommon } = await load('agreement.js');
const { argmax, interpret, regions, softmax } = await load('results.js');
const { summary } = await load('benchmark.js');

for (const { size, pixels, cases } of fixture('resize')) {
  test(`resize ${size.join(' × ')}`, () => {
    const photo = picture(size, pixels);
    for (const { contract, pixels: expected } of cases) {
      assert.deepEqual(rgb(fit(photo, contract)), bytes(expected), JSON.stringify(contract));
    }
  });
}

test('a photo that would take gigabytes is refused', () => {
  const contract = { resize_rule: 'shortest', resize_size: 256, crop_size: 224 };
  assert.throws(() => fit({ width: 2 ** 24, height: 1 }, contract), /would become 4294967296 × 256/);
});

test('normalization of all 256 values', () => {
  for (const { contract, normalize: affine, pixels, planes } of fixture('normalize')) {
    assert.deepEqual(normalize(picture([16, 16], pixels), contract, affine), floats(planes));
  }
});

test('framing', () => {
  for (const { size, contract, edges, boxes, on_photo: expected } of fixture('framing')) {
    const seen = seenEdges({ width: size[0], height: size[1] }, contract);
    assert.deepEqual(Object.values(seen), edges);
    assert.deepEqual(boxes.map((box) => Object.values(boxToPhoto(box, seen))), expected);
  }
});

test('suppression of crowded, tied scenes', () => {
  for (const { settings, classes, boxes, scores, rows } of fixture('nms')) {
    const found = suppress(floats(scores), floats(boxes), classes, settings);
    assert.deepEqual(found.map((one) => [...one.box, one.score, one.class]), rows);
  }
});

test('detections in common', () => {
  const shares = fixture('agreement').map(({ expected, actual, share }) => {
    const { rows, matched } = inCommon(expected, floats(actual));
    assert.equal(rows ? matched / rows : 1, share);
    return share;
  });
  assert.ok(Math.min(...shares) < 0.5 && Math.max(...shares) > 0.65);
});

test('label maps and regions', () => {
  for (const { dims, logits, labels, regions: expected } of fixture('segmentation')) {
    const map = argmax({ data: floats(logits), dims });
    assert.deepEqual(map, bytes(labels));
    const found = regions(map, { classes: dims[1], labels: [] });
    assert.deepEqual(found.map((region) => [region.class, region.share]), expected);
  }
  assert.throws(() => regions(Uint8Array.of(0, 9), { classes: 4, labels: [] }), /label 9/);
});

test('softmax, and equal classes in their order', () => {
  const shares = softmax(Float32Array.of(1000, 1001, 1001));
  assert.ok(Math.abs(shares[1] - 1 / (2 + Math.exp(-1))) < 1e-15);
  const preprocess = { resize_rule: 'stretch', resize_size: 8, crop_size: 8 };
  const spec = { task: 'classification', classes: 3, labels: ['a', 'b', 'c'], preprocess };
  const photo = { width: 8, height: 8 };
  const best = (softmaxed, data) =>
    interpret({ logits: { data } }, { spec, options: { softmax: softmaxed } }, photo).classes;
  assert.deepEqual(best(false, Float32Array.of(0, 5, 5)).map(({ label }) => label), ['b', 'c', 'a']);
  assert.equal(best(true, Float32Array.of(0.25, 0.5, 0.25))[0].share, 0.5);
});

test('PNG of every kind', async () => {
  for (const { name, file, size, pixels } of fixture('png')) {
    const decoded = await decodePng(bytes(file));
    const found = upright(decoded, orientationOf(decoded.exif));
    assert.deepEqual([found.width, found.height], size, name);
    assert.deepEqual(rgb(found), bytes(pixels), name);
  }
});

test('damaged PNG', async () => {
  const [{ file }] = fixture('png');
  const whole = bytes(file);
  for (const length of [8, 20, 40, 60, 1000]) {
    await assert.rejects(decodePng(whole.subarray(0, length)), /damaged/, `${length} bytes`);
  }
  const changed = whole.slice();
  changed[24] = 3; // its depth
  await assert.rejects(decodePng(changed), /damaged/);
});

test('EXIF that is cut off says nothing', () => {
  assert.equal(orientationOf(null), 1);
  assert.equal(orientationOf(Uint8Array.of(0x49, 0x49, 42)), 1);
});

test('percentiles', () => {
  assert.deepEqual(summary([3, 1, 2]), { min: 1, p50: 2, p90: 3 });
});
