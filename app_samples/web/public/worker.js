// Everything that takes time, off the page's thread. engine.js is the other end.
import { benchmark } from './benchmark.js';
import { decode } from './decode.js';
import { loadModel } from './model.js';
import { MANIFEST_SHA256 } from './model_contract.js';
import { fit, normalize } from './preprocess.js';
import { interpret } from './results.js';
import { selfTest } from './selftest.js';
import { Session } from './session.js';

let model = null;
let session = null;

const actions = {
  async load(settings) {
    model = await loadModel();
    session = await Session.open(model.bytes, settings);
    model.bytes = null; // the runtime has its own copy by now
    await runOnNothing(); // the first run is slow: let it be none that the person waits for
    const { manifest, artifact, checked } = model;
    const { spec } = manifest;
    return { value: { spec, artifact, checked, version: MANIFEST_SHA256, ...settings } };
  },

  /** What the network says of a Blob or an ImageBitmap, with the outputs themselves. */
  async predict({ source }) {
    const { spec, normalize: affine } = model.manifest;
    const { preprocess } = spec;
    const clock = stopwatch();
    const photo = await decode(source);
    const decodeMs = clock();
    const planes = normalize(fit(photo, preprocess), preprocess, affine);
    const prepareMs = clock();
    const outputs = await session.run(planes, preprocess.crop_size);
    const networkMs = clock();
    const result = interpret(outputs, model.manifest, photo);
    const resultMs = clock();
    const { width, height } = photo;
    const picture = await createImageBitmap(new ImageData(photo.data, width, height));
    const times = { decodeMs, prepareMs, networkMs, resultMs };
    return { value: { width, height, picture, result, outputs, times }, transfer: [picture] };
  },

  async selfTest(_, progress) {
    return { value: await selfTest(model, session, progress) };
  },

  async benchmark({ runs }, progress) {
    return { value: await benchmark(runOnNothing, runs, progress) };
  },
};

function runOnNothing() {
  const side = model.manifest.spec.preprocess.crop_size;
  return session.run(new Float32Array(3 * side * side), side);
}

function stopwatch() {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const passed = now - last;
    last = now;
    return passed;
  };
}

let turn = Promise.resolve(); // one at a time: a session runs one picture

self.onmessage = ({ data: { id, action, payload } }) => {
  turn = turn.then(async () => {
    try {
      const progress = (done, all) => self.postMessage({ id, progress: { done, all } });
      const { value, transfer = [] } = await actions[action](payload, progress);
      self.postMessage({ id, value }, transfer);
    } catch ({ name, message, hint }) {
      self.postMessage({ id, error: { name, message, hint } });
    }
  });
};
