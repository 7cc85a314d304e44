// A server per app and a Chromium that can reach nothing else.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

process.env.PW_EXPERIMENTAL_SERVICE_WORKER_NETWORK_EVENTS = '1'; // their requests are seen as well
export const WORK = resolve(process.env.MNV2_WEB_WORK);
export const PHOTOS = join(WORK, 'photos');
export const BUILDS = [
  'classification',
  'detection',
  'segmentation',
  'detection_nms',
  'segmentation_labels',
];
export const require = createRequire(join(WORK, 'tools', 'package.json'));
const { chromium } = require('playwright-core');

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts an app's own server: { url, stop }. */
async function serve(app, ...options) {
  const child = spawn(process.execPath, ['serve.mjs', '--port', '0', ...options], {
    cwd: join(WORK, 'apps', app),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((done) => child.once('exit', done));
  const line = await new Promise((done) => createInterface(child.stdout).once('line', done));
  const stop = () => {
    child.kill();
    return ended;
  };
  return { url: line, stop };
}

/** A browser of its own; `flags` besides the usual, without those in `without`. */
export function browser(flags = [], without = []) {
  return chromium.launch({
    executablePath: process.env.MNV2_CHROMIUM,
    headless: true,
    args: [...FLAGS.filter((flag) => !without.includes(flag)), ...flags],
  });
}

/**
 * An app's page in a fresh context, until the test ends; `elsewhere` lists requests that left its
 * origin.
 */
export async function visit(t, chrome, app, { path = '', host = 'localhost', ...options } = {}) {
  const server = await serve(app);
  const context = await chrome.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  t.after(async () => {
    await context.close();
    await server.stop();
  });
  const url = server.url.replace('localhost', host);
  const { origin } = new URL(url);
  const all = [];
  const elsewhere = [];
  context.on('request', (request) => {
    all.push(request.url());
    const local = request.url().startsWith(`blob:${origin}/`);
    if (!local && new URL(request.url()).origin !== origin) elsewhere.push(request.url());
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(url + path);
  return { page, context, server, url, all, elsewhere };
}

export async function ready(page) {
  await page.getByText('Ready: choose a picture.').waitFor();
}

/** Uploads a photo as a person does and waits for what is said of it. */
export async function upload(page, file) {
  await page.setInputFiles('#file', join(PHOTOS, file));
  await page.locator('#times:not([hidden])').waitFor();
}

export async function screenshot(page, name, options = { fullPage: true }) {
  const folder = join(WORK, 'screenshots');
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), ...options });
}
