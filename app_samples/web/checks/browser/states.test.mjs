// What the person sees: results, errors, offline, camera; and that all can use it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { browser, PHOTOS, ready, require, screenshot, upload, visit } from './harness.mjs';

const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const SCREENS = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 860 } };
let chrome;

before(async () => {
  chrome = await browser();
});

after(() => chrome.close());

const alertText = (page) => page.getByRole('alert').innerText();

async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate('axe.run()');
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
}

async function fitsTheScreen(page) {
  const [content, screen] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
  });
  assert.ok(content <= screen, `${content} px on a screen of ${screen} px`);
}

for (const task of ['classification', 'detection', 'segmentation']) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [name, viewport] of Object.entries(SCREENS)) {
      test(`looks: ${task}, ${colorScheme}, ${name}`, async (t) => {
        const { page } = await visit(t, chrome, task, { colorScheme, viewport });
        await ready(page);
        if (colorScheme === 'light') await screenshot(page, `${task}-start-${name}`);
        const example = page.locator('#examples button').nth(task === 'segmentation' ? 3 : 0);
        await example.click();
        await page.locator('#times:not([hidden])').waitFor();
        await page.getByText('works offline').waitFor();
        await screenshot(page, `${task}-${colorScheme}-${name}`);
        await fitsTheScreen(page);
        await accessible(page);
      });
    }
  }
}

test('the panels', async (t) => {
  const { page } = await visit(t, chrome, 'classification', { viewport: SCREENS.phone });
  await ready(page);
  await upload(page, 'photo.jpg');
  for (const summary of await page.locator('summary').all()) await summary.click();
  await page.getByRole('button', { name: 'Run the self-test' }).click();
  await page.getByText('Passed: 20 pictures').waitFor();
  await page.selectOption('#runs', '10');
  await page.getByRole('button', { name: 'Measure' }).click();
  await page.getByText('Median').waitFor();
  const times = await page.locator('#benchmark-result dd').allInnerTexts();
  assert.equal(times.length, 5, 'loading, first run, fastest, median, 90 %');
  assert.ok(times.every((text) => parseFloat(text) > 0), times.join());
  await page.selectOption('#threads', '1');
  await page.locator('#threads:disabled').waitFor();
  await page.locator('#threads:enabled').waitFor();
  assert.match(await page.locator('#status').innerText(), /^Most likely/, 'the result stays');
  await screenshot(page, 'panels-phone');
  await fitsTheScreen(page);
  await accessible(page);
});

test('with the keyboard alone', async (t) => {
  const { page } = await visit(t, chrome, 'detection', { reducedMotion: 'reduce' });
  await ready(page);
  await page.locator('#examples button').first().waitFor();
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.tagName);
  const order = [];
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press('Tab');
    order.push(await focused());
    const outline = await page.evaluate(() => {
      const active = document.activeElement;
      return getComputedStyle(active.type === 'file' ? active.nextElementSibling : active).outlineStyle;
    });
    assert.equal(outline, 'solid', `focus on ${order.at(-1)} is to be seen`);
  }
  assert.deepEqual(order, ['file', 'open-camera', 'BUTTON', 'BUTTON']);
  const chooser = page.waitForEvent('filechooser');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  await (await chooser).setFiles(join(PHOTOS, 'photo.png'));
  await page.locator('#times:not([hidden])').waitFor();
  await page.locator('#threshold').focus();
  const before = await page.inputValue('#threshold');
  await page.keyboard.press('ArrowLeft');
  assert.equal(Number(await page.inputValue('#threshold')), Number(before) - 5);
  assert.equal(await page.locator('#threshold-value').innerText(), '35 %');
});

test('offline after the first visit', async (t) => {
  const { page, context, server, elsewhere, all } = await visit(t, chrome, 'classification');
  await ready(page);
  await page.getByText('works offline').waitFor();
  await server.stop();
  await page.reload();
  await ready(page);
  assert.ok(await page.evaluate(() => crossOriginIsolated), 'still isolated: threads');
  await page.locator('#examples button').first().click();
  await page.locator('#times:not([hidden])').waitFor();
  await page.locator('#self-test-panel summary').click();
  await page.getByRole('button', { name: 'Run the self-test' }).click();
  await page.getByText('Passed: 20 pictures').waitFor();
  await screenshot(page, 'offline');
  assert.ok(context.serviceWorkers().length > 0 && all.length > 0);
  assert.deepEqual(elsewhere, []);
});

test('nothing can be sent to another origin', async (t) => {
  const { page } = await visit(t, chrome, 'classification');
  await ready(page);
  const blocked = await page.evaluate(async () => {
    const seen = new Promise((done) => {
      document.addEventListener('securitypolicyviolation', (event) => done(event.blockedURI));
    });
    await fetch('http://127.0.0.1:9/').catch(() => null);
    return seen;
  });
  assert.match(blocked, /127\.0\.0\.1:9/);
  const headers = (await page.reload()).headers();
  assert.match(headers['content-security-policy'], /connect-src 'self'/);
});

test('a camera’s frame', async (t) => {
  const flags = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];
  const fake = await browser(flags);
  t.after(() => fake.close());
  const { page } = await visit(t, fake, 'classification');
  await ready(page);
  await page.getByRole('button', { name: 'Use camera' }).click();
  await page.getByText('The camera is on.').waitFor();
  await screenshot(page, 'camera');
  await page.getByRole('button', { name: 'Take picture' }).click();
  await page.locator('#times:not([hidden])').waitFor();
  assert.equal(await page.locator('#found li').count(), 5);
  assert.equal(await page.evaluate(() => document.getElementById('preview').srcObject), null);
});

test('another picture closes the camera', async (t) => {
  const flags = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];
  const fake = await browser(flags);
  t.after(() => fake.close());
  const { page } = await visit(t, fake, 'classification');
  await ready(page);
  await page.getByRole('button', { name: 'Use camera' }).click();
  await page.getByText('The camera is on.').waitFor();
  const track = await page.evaluateHandle(
    () => document.getElementById('preview').srcObject.getTracks()[0],
  );
  await page.locator('#examples button').first().click();
  await page.locator('#times:not([hidden])').waitFor();
  assert.equal(await track.evaluate(({ readyState }) => readyState), 'ended');
  assert.ok(await page.getByRole('button', { name: 'Use camera' }).isVisible());
});

test('a picture that is chosen meanwhile wins', async (t) => {
  const { page } = await visit(t, chrome, 'classification');
  await ready(page);
  await upload(page, 'gray.jpg');
  const last = await page.locator('#found').innerText();
  await upload(page, 'large.jpg');
  assert.notEqual(await page.locator('#found').innerText(), last);
  await page.evaluate(() => {
    window.said = [];
    const status = document.getElementById('status');
    new MutationObserver(() => window.said.push(status.innerText)).observe(status, { childList: true });
  });
  await page.setInputFiles('#file', join(PHOTOS, 'large.jpg'));
  assert.ok(await page.locator('#backend').isDisabled(), 'another engine would end what is running');
  await page.setInputFiles('#file', join(PHOTOS, 'gray.jpg'));
  await page.locator('#times:not([hidden])').waitFor();
  assert.equal(await page.locator('#found').innerText(), last);
  const said = await page.evaluate(() => window.said);
  assert.equal(said.filter((line) => line.startsWith('Most likely')).length, 1, said.join());
  assert.ok(await page.locator('#backend').isEnabled());
});

test('golden images that were exchanged are no failed model', async (t) => {
  const { page, context, url } = await visit(t, chrome, 'classification', {
    serviceWorkers: 'block',
  });
  const other = readFileSync(join(PHOTOS, 'photo.png'));
  await context.route('**/model/golden/07-*.png', (route) => route.fulfill({ body: other }));
  await page.goto(url);
  await ready(page);
  await page.locator('#self-test-panel summary').click();
  await page.getByRole('button', { name: 'Run the self-test' }).click();
  await page.getByRole('alert').waitFor();
  assert.match(await alertText(page), /model\/golden is not what this app was made for/);
  assert.equal(await page.locator('#self-test-result').innerText(), '');
  await page.locator('#examples button').nth(1).waitFor();
  await context.route('**/model/golden/*.png', (route) => route.abort());
  await page.locator('#examples button').nth(1).click();
  await page.getByText('model/golden/05-image01.png cannot be reached').waitFor();
});

test('the camera is refused', async (t) => {
  const { page } = await visit(t, chrome, 'classification');
  await ready(page);
  await page.getByRole('button', { name: 'Use camera' }).click();
  await page.getByRole('alert').waitFor();
  assert.match(await alertText(page), /The camera was not allowed|No camera was found/);
  await screenshot(page, 'error-camera');
});

test('a file that is no picture', async (t) => {
  const { page } = await visit(t, chrome, 'classification', { viewport: SCREENS.phone });
  await ready(page);
  await page.setInputFiles('#file', join(PHOTOS, 'no-photo.jpg'));
  await page.getByRole('alert').waitFor();
  assert.match(await alertText(page), /“no-photo\.jpg” is not a picture/);
  await accessible(page);
  await screenshot(page, 'error-no-picture-phone');
  await upload(page, 'photo.jpg');
  assert.ok(await page.getByRole('alert').isHidden(), 'the next picture clears it');
});

test('no WebGPU', async (t) => {
  const { page } = await visit(t, chrome, 'classification', { colorScheme: 'dark' });
  await ready(page);
  await page.locator('#settings-panel summary').click();
  await page.selectOption('#backend', 'webgpu');
  await page.getByRole('alert').waitFor();
  assert.match(await alertText(page), /no WebGPU/);
  assert.equal(await page.inputValue('#backend'), 'wasm');
  await screenshot(page, 'error-no-webgpu-dark');
  await upload(page, 'photo.jpg');
});

const BROKEN = [
  {
    name: 'model-missing',
    file: '**/model/*.onnx',
    with: { status: 404 },
    says: /model\/model-int8\.onnx is missing \(404\)/,
  },
  {
    name: 'manifest-missing',
    file: '**/model/manifest.json',
    with: { status: 404 },
    says: /model\/manifest\.json is missing \(404\)/,
  },
  {
    name: 'model-damaged',
    file: '**/model/*.onnx',
    with: { body: 'damaged' },
    says: /not what this app was made for.*--update/s,
  },
  {
    name: 'wasm-missing',
    file: '**/vendor/*.wasm',
    with: { status: 404 },
    says: /ONNX Runtime did not start.*npm install/s,
  },
  {
    name: 'script-missing',
    file: '**/resize.js',
    with: { status: 404 },
    says: /one of its scripts is missing/,
  },
];

for (const { name, file, with: answer, says } of BROKEN) {
  test(`broken: ${name}`, async (t) => {
    const { page, context, url } = await visit(t, chrome, 'classification', {
      serviceWorkers: 'block',
      viewport: SCREENS.phone,
    });
    await context.route(file, (route) => route.fulfill(answer));
    await page.goto(url);
    await page.getByRole('alert').waitFor();
    assert.match(await alertText(page), says);
    assert.ok(await page.locator('#file').isDisabled());
    await accessible(page);
    await screenshot(page, `error-${name}-phone`);
    await context.unroute(file);
    await page.getByRole('button', { name: 'Try again' }).click();
    await ready(page);
    assert.ok(await page.getByRole('alert').isHidden());
  });
}

const UNKNOWN = [
  ['outputs', (m) => (m.artifacts[0].self_test.outputs[0].name = 'lowres_logits'), /lowres_logits/],
  ['schema', (m) => (m.schema_version = 2), /manifest has version 2, not 1/],
  ['task', (m) => (m.spec.task = 'depth'), /task is “depth”/],
  ['batch', (m) => (m.options.batch = 8), /8 pictures at once/],
  ['io', (m) => (m.options.io = 'uint8'), /input is uint8/],
];

for (const [name, change, says] of UNKNOWN) {
  test(`unknown: ${name}`, async (t) => {
    const { page, context, url } = await visit(t, chrome, 'classification', {
      serviceWorkers: 'block',
    });
    const manifest = await (await fetch(`${url}model/manifest.json`)).json();
    change(manifest);
    const body = JSON.stringify(manifest);
    const digest = createHash('sha256').update(body).digest('hex');
    const contract = `export const MANIFEST_SHA256 = '${digest}';`;
    await context.route('**/model/manifest.json', (route) => route.fulfill({ body }));
    await context.route('**/model_contract.js', (route) =>
      route.fulfill({ body: contract, contentType: 'text/javascript' }),
    );
    await page.goto(url);
    await page.getByRole('alert').waitFor();
    assert.match(await alertText(page), says);
    await screenshot(page, `error-unknown-${name}`);
  });
}

test('not from https or localhost', async (t) => {
  const plain = await browser(['--host-resolver-rules=MAP app.test 127.0.0.1']);
  t.after(() => plain.close());
  const { page } = await visit(t, plain, 'classification', { host: 'app.test' });
  await ready(page);
  assert.match(await page.locator('#notice').innerText(), /could not be verified/);
  await page.getByRole('button', { name: 'Use camera' }).click();
  assert.match(await alertText(page), /needs a page from https or localhost/);
  await page.locator('#self-test-panel summary').click();
  await page.getByRole('button', { name: 'Run the self-test' }).click();
  await page.getByText('Passed: 20 pictures').waitFor();
  await screenshot(page, 'insecure');
});
