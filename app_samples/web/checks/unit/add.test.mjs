// The one rule in which ONNX Runtime in a browser differs from the desktop's: the residual add.
import assert from 'node:assert/strict';
import test from 'node:test';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bytes, fixture } from './subject.mjs';

const dist = resolve(process.env.MNV2_WEB_APP, 'node_modules/onnxruntime-web/dist');
const ort = await import(pathToFileURL(join(dist, 'ort.wasm.min.mjs')));
ort.env.wasm.numThreads = 1;

test('QLinearAdd of every pair of codes', async () => {
  const [{ x, y, cases }] = fixture('add');
  const tensor = (text) => new ort.Tensor('uint8', bytes(text), [1, 1 << 16]);
  for (const { model, sums } of cases) {
    const session = await ort.InferenceSession.create(bytes(model));
    const { z } = await session.run({ x: tensor(x), y: tensor(y) });
    assert.deepEqual(Uint8Array.from(z.data), bytes(sums));
    await session.release();
  }
});
