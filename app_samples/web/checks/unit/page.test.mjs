// What can be said of the page's sources without a browser.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { load, PUBLIC } from './subject.mjs';

const { luminance } = await load('palette.js');
const source = (name) => readFileSync(join(PUBLIC, name), 'utf8');

test('the service worker keeps every file of the page', () => {
  const [, list] = source('sw.js').match(/FILES = \[(.*?)\];/s);
  const kept = [...list.matchAll(/'([^']+)'/g)].map(([, name]) => name);
  const own = readdirSync(PUBLIC).filter((name) => /\.(js|css|svg)$/.test(name) && name !== 'sw.js');
  assert.deepEqual(kept.filter((name) => !name.includes('/')), own.sort());
});

test('no address of another origin', () => {
  for (const name of readdirSync(PUBLIC).filter((file) => /\.(js|css|html)$/.test(file))) {
    assert.doesNotMatch(source(name), /https?:\/\//, name);
  }
});

const PAIRS = [ // what is written or drawn on what, and the contrast that WCAG 2.2 AA asks for
  ['ink', 'page', 4.5],
  ['ink', 'card', 4.5],
  ['ink', 'sunken', 4.5],
  ['ink', 'bar', 4.5],
  ['ink', 'bad-card', 4.5],
  ['soft-ink', 'page', 4.5],
  ['soft-ink', 'card', 4.5],
  ['soft-ink', 'sunken', 4.5],
  ['on-accent', 'accent', 4.5],
  ['on-accent', 'accent-strong', 4.5],
  ['good', 'card', 4.5],
  ['bad', 'card', 4.5],
  ['bad', 'bad-card', 4.5],
  ['line', 'card', 3],
  ['line', 'page', 3],
  ['accent', 'page', 3],
  ['accent', 'card', 3],
];

test('colors stand out enough, light and dark', () => {
  const [light, dark] = source('style.css').matchAll(/:root \{(.*?)\}/gs);
  for (const [, block] of [light, dark]) {
    const color = (name) => {
      const [, hex] = block.match(new RegExp(`--${name}: #([0-9a-f]{6});`));
      return luminance(hex.match(/../g).map((part) => parseInt(part, 16))) + 0.05;
    };
    for (const [front, back, wanted] of PAIRS) {
      const [low, high] = [color(front), color(back)].sort((a, b) => a - b);
      assert.ok(high / low >= wanted, `${front} on ${back}: ${(high / low).toFixed(2)}`);
    }
  }
});
