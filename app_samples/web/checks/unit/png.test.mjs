// PNG files that mean harm.
import assert from 'node:assert/strict';
import test from 'node:test';
import { deflateSync } from 'node:zlib';
import { load } from './subject.mjs';

const { decodePng } = await load('png.js');
const BOMB = 1 << 28; // bytes beyond the picture's 20, in a file of 260 kB

/** A black picture of 4 × 4 in gray, with so many bytes too many. */
function black(surplus) {
  const header = Buffer.from([0, 0, 0, 4, 0, 0, 0, 4, 8, 0, 0, 0, 0]);
  const lines = deflateSync(Buffer.alloc(20 + surplus));
  const chunk = (type, body) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    return [length, Buffer.from(type), body, Buffer.alloc(4)];
  };
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const parts = [signature, chunk('IHDR', header), chunk('IDAT', lines), chunk('IEND', Buffer.alloc(0))];
  return new Uint8Array(Buffer.concat(parts.flat()));
}

test('what inflates to gigabytes is not kept', async () => {
  const file = black(BOMB);
  const before = process.memoryUsage().rss;
  const { width, height, data } = await decodePng(file);
  const grown = process.memoryUsage().rss - before;
  assert.deepEqual([width, height, data[0], data[63]], [4, 4, 0, 255]);
  assert.ok(grown < BOMB / 4, `${grown} bytes`);
});

test('a damaged checksum is noticed', async () => {
  const file = black(0);
  file[file.length - 17] ^= 1; // the last byte of the compressed data
  await assert.rejects(decodePng(file), /damaged/);
});
