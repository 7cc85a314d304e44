// What the page computes, into page.json; test_page.py compares it with Python.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { browser, BUILDS, PHOTOS, ready, upload, visit, WORK } from './harness.mjs';

const FILES = [
  'photo.jpg',
  'photo.png',
  'turned.jpg',
  'turned.png',
  'progressive.jpg',
  'gray.jpg',
  'lossless.webp',
  'lossy.webp',
  'large.jpg',
  'transparent.png',
  'transparent.webp',
];
const inBase64 = (file) => readFileSync(join(PHOTOS, file)).toString('base64');
const photo = inBase64('photo.jpg');
const found = { builds: {}, photos: {}, webgpu: null };
let chrome;

before(async () => {
  chrome = await browser();
});

after(async () => {
  await chrome.close();
  writeFileSync(join(WORK, 'page.json'), JSON.stringify(found));
});

/** In the page: digests of what every golden image and a photo give, on so many threads. */
async function runGolden({ threads, photo }) {
  const { Engine } = await import('/engine.js');
  const { sha256 } = await import('/model.js');
  const engine = new Engine();
  const { artifact } = await engine.load({ threads });
  const { inputs } = await (await fetch('/model/golden/expected.json')).json();
  const results = async (blob) => {
    const { outputs, result } = await engine.predict(blob);
    const found = { outputs: {}, objects: result.objects };
    for (const [name, { data }] of Object.entries(outputs)) {
      const digest = await sha256(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      found.outputs[name] = { digest };
    }
    return found;
  };
  const images = [];
  for (const { file } of inputs) {
    images.push(await results(await (await fetch(`/model/golden/${file}`)).blob()));
  }
  const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
  const found = { images, photo: await results(new Blob([bytes])), selfTest: await engine.selfTest() };
  engine.close();
  return { precision: artifact.precision, isolated: crossOriginIsolated, ...found };
}

for (const app of [...BUILDS, ...BUILDS.slice(0, 4).map((name) => `${name}-fp32`)]) {
  test(`golden images: ${app}`, async (t) => {
    const { page, elsewhere, all } = await visit(t, chrome, app);
    await ready(page);
    found.builds[app] = await page.evaluate(runGolden, { threads: 1, photo });
    assert.ok(found.builds[app].isolated, 'threads need an isolated page');
    const threaded = await page.evaluate(runGolden, { threads: 2, photo });
    if (threaded.precision === 'int8') {
      assert.deepEqual(threaded, found.builds[app], 'two threads give what one gives');
    }
    assert.deepEqual(elsewhere, []);
    assert.ok(all.some((url) => url.endsWith('.wasm')), 'requests of workers are seen');
  });
}

/** In the page: what the network sees of a photo, and what it says. */
async function runPhoto(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const { decode } = await import('/decode.js');
  const { fit } = await import('/preprocess.js');
  const { Engine } = await import('/engine.js');
  const { sha256 } = await import('/model.js');
  const { spec } = await (await fetch('/model/manifest.json')).json();
  const photo = await decode(new Blob([bytes]));
  const rgb = ({ data }) => data.filter((_, i) => i % 4 < 3);
  const seen = rgb(fit(photo, spec.preprocess));
  const engine = new Engine();
  await engine.load();
  const { outputs } = await engine.predict(new Blob([bytes]));
  engine.close();
  return {
    size: [photo.width, photo.height],
    decoded: await sha256(rgb(photo)),
    seen: Array.from(seen),
    outputs: Object.fromEntries(
      Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data)]),
    ),
  };
}

test('photos', async (t) => {
  const { page } = await visit(t, chrome, 'classification');
  await ready(page);
  for (const file of FILES) {
    found.photos[file] = await page.evaluate(runPhoto, inBase64(file));
  }
  await upload(page, 'photo.png');
  found.shown = await page.locator('#found li').allInnerTexts();
});

test('WebGPU: the page offers it, checks it, and falls back', async (t) => {
  // SwiftShader computes in software: that it works is all that is asked of it.
  const flags = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];
  const soft = await browser(flags, ['--disable-gpu']);
  t.after(() => soft.close());
  const { page } = await visit(t, soft, 'classification');
  await ready(page);
  if (await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()))) {
    await page.locator('#settings-panel summary').click();
    await page.selectOption('#backend', 'webgpu');
    const verdict = page.locator('#self-test-result strong');
    await verdict.waitFor({ timeout: 120_000 });
    found.webgpu = await verdict.innerText();
    t.diagnostic(`SwiftShader: ${found.webgpu}`);
  } else {
    t.diagnostic('not run: this Chromium gives no WebGPU adapter');
  }
});
