// The app's modules and Python's fixtures, from where check.sh put them.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export const PUBLIC = resolve(process.env.MNV2_WEB_APP, 'public');

export function load(module) {
  return import(pathToFileURL(join(PUBLIC, module)));
}

export function fixture(name) {
  return JSON.parse(readFileSync(join(process.env.MNV2_WEB_FIXTURES, `${name}.json`), 'utf8'));
}

export const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
export const floats = (text) => new Float32Array(bytes(text).buffer);

/** Three bytes per pixel -> ImageData's four; the fourth is one that nothing may depend on. */
export function picture([width, height], text) {
  const rgb = bytes(text);
  const data = new Uint8ClampedArray(width * height * 4).fill(77);
  for (let i = 0; i < width * height; i++) data.set(rgb.subarray(i * 3, i * 3 + 3), i * 4);
  return { width, height, data };
}

export function rgb({ data }) {
  return Uint8Array.from(data.filter((_, i) => i % 4 < 3));
}
