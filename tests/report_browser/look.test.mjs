// Reports as people see them: on a phone and on a desk, in light and dark, on paper, without script.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import test, { after, before } from 'node:test';
import { pathToFileURL } from 'node:url';

const WORK = resolve(process.env.MNV2_REPORT_WORK);
const SHOTS = join(WORK, 'screenshots');
const require = createRequire(join(WORK, 'tools', 'package.json'));
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const SCREENS = { 390: { width: 390, height: 844 }, 1280: { width: 1280, height: 860 } };
const PAGES = readdirSync(join(WORK, 'pages')).map((file) => file.replace('.html', ''));
let chrome;

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
  chrome = await chromium.launch({ executablePath: process.env.MNV2_CHROMIUM, args });
});

after(() => chrome.close());

/** A page in a fresh context; `said` and `asked` list console messages and foreign requests. */
async function open(t, name, options = {}) {
  const context = await chrome.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  const url = pathToFileURL(join(WORK, 'pages', `${name}.html`)).href;
  const said = [];
  const asked = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('request', (request) => {
    if (request.url() !== url) asked.push(request.url());
  });
  await page.goto(url);
  return { page, context, said, asked };
}

async function accessible(page) {
  await page.evaluate(AXE); // the policy forbids scripts to the page, not to its examiner
  const { violations } = await page.evaluate('axe.run()');
  const found = violations.map(({ id, nodes }) => [id, nodes.slice(0, 3).map((n) => n.html)]);
  assert.deepEqual(found, []);
}

async function fits(page) {
  const [content, screen] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
  });
  assert.ok(content <= screen, `${content} px on a screen of ${screen} px`);
}

test('every kind of report is there', () => {
  assert.deepEqual(PAGES.sort(), ['classification', 'detection', 'segmentation', 'troubled']);
});

for (const name of PAGES) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, viewport] of Object.entries(SCREENS)) {
      test(`${name}, ${colorScheme}, ${width} px`, async (t) => {
        const { page, said, asked } = await open(t, name, { colorScheme, viewport });
        await page.screenshot({ path: join(SHOTS, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        await fits(page);
        await page.evaluate(() => {
          for (const fold of document.querySelectorAll('details')) fold.open = true;
        });
        await fits(page);
        await accessible(page);
        assert.deepEqual([said, asked], [[], []]);
        assert.doesNotMatch(await page.title(), /taken over/);
      });
    }
  }
}

test('on a phone no figure of these tables is out of sight', async (t) => {
  const { page } = await open(t, 'classification', { viewport: SCREENS[390] });
  const found = await page.evaluate(() => {
    const cells = [...document.querySelectorAll('#artifacts td, #accuracy td, #latency td, #slowest td')];
    const seen = cells.filter((cell) => cell.checkVisibility() && cell.closest('table.cards'));
    const beyond = seen.filter((cell) => cell.getBoundingClientRect().right > innerWidth);
    return [seen.length, beyond.map((cell) => cell.textContent)];
  });
  assert.ok(found[0] > 60);
  assert.deepEqual(found[1], []);
});

test('text in pictures can be read on either screen', async (t) => {
  for (const viewport of Object.values(SCREENS)) {
    const { page } = await open(t, 'classification', { viewport });
    const sizes = await page.evaluate(() =>
      [...document.querySelectorAll('svg.plot text')]
        .filter((text) => text.checkVisibility())
        .map((text) => {
          const { a, b } = text.getScreenCTM();
          return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
        }),
    );
    assert.ok(sizes.length > 20);
    assert.ok(Math.min(...sizes) >= 8.5, `${Math.min(...sizes)} px`);
  }
});

test('a button copies the code', async (t) => {
  const { page, context } = await open(t, 'classification', { viewport: SCREENS[1280] });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const box = page.locator('.code').first();
  await box.getByRole('button').click();
  await box.getByText('Copied').waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, await box.locator('pre').textContent());
  assert.match(copied, /model-int8/);
});

test('without script everything is there but the buttons', async (t) => {
  const { page, said } = await open(t, 'classification', { javaScriptEnabled: false });
  assert.equal(await page.getByRole('button', { name: /^Copy/ }).count(), 0);
  assert.ok(await page.locator('.code pre').first().isVisible());
  await page.getByText(/labels in the order of the outputs/).click();
  assert.ok(await page.locator('ol.labels li').first().isVisible());
  assert.deepEqual(said, []);
});

test('with the keyboard alone', async (t) => {
  const { page } = await open(t, 'classification', { viewport: SCREENS[1280] });
  await page.keyboard.press('Tab');
  const [tag, outline] = await page.evaluate(() => {
    const active = document.activeElement;
    return [active.tagName, getComputedStyle(active).outlineStyle];
  });
  assert.deepEqual([tag, outline], ['A', 'solid']);
  await page.locator('#labels summary').focus();
  await page.keyboard.press('Enter');
  assert.ok(await page.locator('ol.labels').isVisible());
  await page.locator('#parity .scroll').first().focus();
});

test('a thousand labels are there to be found, folded away', async (t) => {
  const { page } = await open(t, 'troubled', { viewport: SCREENS[1280] });
  assert.equal(await page.locator('ol.labels').isVisible(), false);
  assert.equal(await page.locator('ol.labels li').count(), 1000);
  await page.locator('#labels summary').click();
  assert.ok(await page.getByText('label 777', { exact: true }).isVisible());
});

test('on paper nothing stays folded', async (t) => {
  const { page } = await open(t, 'classification');
  await page.emulateMedia({ media: 'print' });
  const pdf = await page.pdf({ path: join(SHOTS, 'classification.pdf'), format: 'A4' });
  assert.ok(pdf.length > 50_000);
  assert.equal(await page.locator('details:not([open])').count(), 0);
});

test('trouble is told in words and symbols', async (t) => {
  const { page } = await open(t, 'troubled', { viewport: SCREENS[1280] });
  assert.match(await page.locator('.verdict').innerText(), /✕\s*1 of \d+ artifacts drifted/);
  const outcomes = await page.locator('#artifacts .outcome').allInnerTexts();
  assert.ok(outcomes.includes('✕ drifted') && outcomes.includes('– not run') && outcomes.includes('✓ same'));
  assert.ok(outcomes.includes('✕ not built'));
  const colors = await page.evaluate(() =>
    Object.fromEntries(
      ['same', 'not-run', 'drifted'].map((name) => [
        name,
        getComputedStyle(document.querySelector(`#artifacts .outcome.${name}`)).color,
      ]),
    ),
  );
  assert.equal(new Set(Object.values(colors)).size, 3);
});
