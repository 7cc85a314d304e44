// Wires the page: buttons to the engine, the engine's answers to the view.
import { closeCamera, frameOf, openCamera } from './camera.js';
import { draw } from './draw.js';
import { Engine } from './engine.js';
import { AppError } from './errors.js';
import { mostThreads } from './session.js';
import * as view from './view.js';

const { find } = view;
const MOST_THREADS_BY_DEFAULT = 4; // small networks gain nothing from more
const EXAMPLES = 6;

const engine = new Engine();
let seen = null; // what engine.predict gave last

async function start(settings) {
  view.clearError();
  view.showStatus('Loading the model…');
  enable(false);
  try {
    const model = await engine.load(settings);
    view.showModel(model);
    view.showStatus('Ready: choose a picture.');
    enable(true);
    return model;
  } catch (error) {
    view.showStatus('Not ready.');
    throw error;
  }
}

async function firstStart() {
  try {
    const model = await start({ backend: 'wasm', threads: Number(find('threads').value) });
    await offerExamples();
    await keepForOffline(model.version);
  } catch (error) {
    view.showError(error, firstStart);
  }
}

/** Looks at a Blob or an ImageBitmap. */
async function look(source, name) {
  view.clearError();
  view.clearResult();
  view.showStatus(`Looking at ${name}…`);
  find('frame').classList.add('busy');
  try {
    seen?.picture.close();
    seen = null;
    seen = await engine.predict(source);
    view.showInFrame('picture');
    view.showTimes(seen.times);
    showSeen();
  } catch (error) {
    view.showInFrame('nothing');
    view.showStatus('Ready: choose a picture.');
    view.showError(error);
  } finally {
    find('frame').classList.remove('busy');
  }
}

function showSeen() {
  const threshold = Number(find('threshold').value) / 100;
  const objects = (seen.result.objects ?? []).filter(({ score }) => score >= threshold);
  draw(find('picture'), seen, objects);
  view.showStatus(view.showResult(seen.result, objects));
}

async function lookAtFile(file) {
  if (!file) return;
  view.pressExample(null);
  await look(file, file.name || 'the picture');
}

async function offerExamples() {
  const response = await fetch('model/golden/expected.json');
  const { inputs } = await response.json();
  const photos = inputs.filter(({ name }) => /^image\d/.test(name)).slice(0, EXAMPLES);
  const examples = photos.map(({ file, name }) => ({ url: `model/golden/${file}`, name }));
  view.showExamples(examples, async (url, name, button) => {
    view.pressExample(button);
    await look(await (await fetch(url)).blob(), name);
  });
}

async function startCamera() {
  view.clearError();
  try {
    await openCamera(find('preview'));
    view.showInFrame('camera');
    view.showStatus('The camera is on.');
    view.pressExample(null);
    find('shoot').focus();
  } catch (error) {
    view.showError(error);
  }
}

async function shoot() {
  const frame = await frameOf(find('preview'));
  stopCamera();
  await look(frame, 'the camera’s picture');
}

function stopCamera() {
  closeCamera(find('preview'));
  view.showInFrame(seen ? 'picture' : 'nothing');
  find('open-camera').focus();
}

async function runSelfTest() {
  const target = 'self-test-result';
  view.showProgress(target, 'Running…');
  try {
    const outcome = await engine.selfTest((done, all) =>
      view.showProgress(target, `Picture ${done} of ${all}`),
    );
    view.showSelfTest(outcome);
    return outcome;
  } catch (error) {
    view.showProgress(target, '');
    view.showError(error);
    return null;
  }
}

async function runBenchmark() {
  const target = 'benchmark-result';
  view.showProgress(target, 'Measuring…');
  try {
    view.showBenchmark(await engine.benchmark(Number(find('runs').value)));
  } catch (error) {
    view.showProgress(target, '');
    view.showError(error);
  }
}

/** Another backend is believed only after it passed the self-test. */
async function changeSettings() {
  const backend = find('backend').value;
  try {
    await start({ backend, threads: Number(find('threads').value) });
    if (seen) showSeen();
    if (backend === 'wasm') return;
    find('self-test-panel').open = true;
    const outcome = await runSelfTest();
    if (outcome?.passed) return;
    throw new AppError('The GPU’s results are not the expected ones.', 'Back on the CPU.');
  } catch (error) {
    find('backend').value = 'wasm';
    await start({ backend: 'wasm', threads: Number(find('threads').value) }).catch(() => {});
    if (seen) showSeen();
    view.showError(error);
  }
}

/** Installs the service worker, which keeps the page and the model for use without a network. */
async function keepForOffline(version) {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register(`sw.js?model=${version}`);
    await navigator.serviceWorker.ready;
    find('offline').textContent = 'Kept in this browser: the page works offline.';
  } catch {
    find('offline').textContent = 'This browser does not keep the page for offline use.';
  }
}

function enable(on) {
  const ids = ['file', 'open-camera', 'self-test', 'benchmark', 'backend'];
  for (const id of ids) find(id).disabled = !on;
  find('threads').disabled = !on || mostThreads() === 1;
}

function offerThreads() {
  const most = mostThreads();
  const counts = Array.from({ length: most }, (_, i) => i + 1);
  find('threads').replaceChildren(...counts.map((count) => new Option(count, count)));
  find('threads').value = Math.min(most, MOST_THREADS_BY_DEFAULT);
  find('threads-note').hidden = crossOriginIsolated;
}

function listen() {
  find('file').onchange = ({ target }) => {
    const [file] = target.files;
    target.value = ''; // so that the same file can be chosen again
    lookAtFile(file);
  };
  find('open-camera').onclick = startCamera;
  find('shoot').onclick = shoot;
  find('close-camera').onclick = () => {
    stopCamera();
    view.showStatus('The camera is off.');
  };
  find('self-test').onclick = runSelfTest;
  find('benchmark').onclick = runBenchmark;
  find('backend').onchange = changeSettings;
  find('threads').onchange = changeSettings;
  find('threshold').oninput = ({ target }) => {
    find('threshold-value').textContent = `${target.value} %`;
    if (seen) showSeen();
  };
  document.onpaste = ({ clipboardData }) => lookAtFile(clipboardData.files[0]);
  const { classList } = find('frame');
  document.ondragover = (event) => {
    event.preventDefault();
    classList.add('dropping');
  };
  document.ondragleave = () => classList.remove('dropping');
  document.ondrop = (event) => {
    event.preventDefault();
    classList.remove('dropping');
    if (!find('file').disabled) lookAtFile(event.dataTransfer.files[0]);
  };
}

offerThreads();
listen();
firstStart();
