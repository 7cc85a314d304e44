// Everything that takes time, off the page's thread. engine.js is the other end.
import { benchmark } from './benchmark.js';
import { decode } from './decode.js';
import { checkGolden, loadModel } from './model.js';
import { MANIFEST_SHA256 } from './model_contract.js';
import { fit, normalize } from './preprocess.js';
import { interpret } from './results.js';
import { selfTest } from './selftest.js';
import { Session } from './session.js';

const SHOWN = 1280; // pixels of the long side that a page needs; a photo takes four bytes for each pixel

let model = null;
let session = null;

const actions = {
  async load(settings) {
    const clock = stopwatch();
    model = await loadModel();
    session = await Session.open(model.bytes, settings);
    model.bytes = null; // the runtime has its own copy by now
    const loadMs = clock();
    await runOnNothing(); // the first run is slow: let it be none that the person waits for
    const { manifest, artifact, checked } = model;
    const { spec } = manifest;
    const startUp = { loadMs, firstMs: clock() };
    return { value: { spec, artifact, checked, startUp, version: MANIFEST_SHA256, ...settings } };
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
    const picture = await toShow(photo);
    const times = { decodeMs, prepareMs, networkMs, resultMs };
    return { value: { width, height, picture, result, outputs, times }, transfer: [picture] };
  },

  async selfTest(_, progress) {
    await checkGolden(model.manifest);
    return { value: await selfTest(model, session, progress) };
  },

  async benchmark({ runs }, progress) {
    return { value: await benchmark(runOnNothing, runs, progress) };
  },
};

/** The photo as an ImageBitmap, smaller where it is large. */
function toShow({ width, height, data }) {
  const scale = Math.min(1, SHOWN / Math.max(width, height));
  return createImageBitmap(new ImageData(data, width, height), {
    resizeWidth: Math.max(1, Math.round(width * scale)),
    resizeHeight: Math.max(1, Math.round(height * scale)),
    resizeQuality: 'medium',
  });
}

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
