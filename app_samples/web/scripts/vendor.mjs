// Copies the parts of onnxruntime-web that the page loads to public/vendor, so that they come from
// the page's own origin. `npm install` runs it.
import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const FILES = [
  'ort.wasm.min.mjs', // CPU
  'ort-wasm-simd-threaded.mjs',
  'ort-wasm-simd-threaded.wasm',
  'ort.webgpu.min.mjs', // GPU; loaded only when it is chosen
  'ort-wasm-simd-threaded.asyncify.mjs',
  'ort-wasm-simd-threaded.asyncify.wasm',
];
const from = new URL('../node_modules/onnxruntime-web/dist/', import.meta.url);
const to = new URL('../public/vendor/', import.meta.url);
const LICENSE = 'LICENSE.txt'; // the package has none beside its files

try {
  await mkdir(to, { recursive: true });
  for (const old of await readdir(to)) {
    if (!FILES.includes(old)) await rm(new URL(old, to), { recursive: true });
  }
  for (const file of FILES) await copyFile(new URL(file, from), new URL(file, to));
  await copyFile(new URL('onnxruntime-license.txt', import.meta.url), new URL(LICENSE, to));
} catch (error) {
  console.error(`public/vendor could not be filled (${error.code}): ${error.path ?? fileURLToPath(to)}`);
  process.exitCode = 1;
}
