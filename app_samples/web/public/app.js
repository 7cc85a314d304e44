// Wires the page: buttons to the engine, the engine's answers to the view.
import { closeCamera, frameOf, openCamera } from './camera.js';
import { draw } from './draw.js';
import { Engine } from './engine.js';
import { AppError } from './errors.js';
import { goldenInputs, read } from './model.js';
import { mostThreads } from './session.js';
import * as view from './view.js';

const { find } = view;
const MOST_THREADS_BY_DEFAULT = 4; // small networks gain nothing from more
const EXAMPLES = 6;

const engine = new Engine();
let seen = null; // what engine.predict gave last
let startUp = null; // how long engine.load took
let looks = 0; // calls of `look`: the latest one shows its result
let running = 0; // self-tests, benchmarks and looks, which other settings would end
let ready = false;
let cameraOpens = false;

async function start(settings) {
  view.clearError();
  view.showStatus('Loading the model…');
  enable(false);
  try {
    const model = await engine.load(settings);
    startUp = model.startUp;
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

/** Looks at a Blob or an ImageBitmap; a picture that is chosen meanwhile wins. */
async function look(source, name) {
  looks += 1;
  const mine = looks;
  closeCamera(find('preview'));
  view.showInFrame(seen ? 'picture' : 'nothing');
  view.clearError();
  view.clearResult();
  view.showStatus(`Looking at ${name}…`);
  find('frame').classList.add('busy');
  try {
    seen?.picture.close();
    seen = null;
    const found = await whileRunning(() => engine.predict(source));
    if (mine !== looks) return found.picture.close();
    seen = found;
    view.showInFrame('picture');
    view.showTimes(seen.times);
    showSeen();
  } catch (error) {
    if (mine !== looks) return;
    view.showInFrame('nothing');
    view.showStatus('Ready: choose a picture.');
    view.showError(error);
  } finally {
    if (mine === looks) find('frame').classList.remove('busy');
  }
}

/** Settings are locked meanwhile: another one starts the engine afresh. */
async function whileRunning(work) {
  running += 1;
  lockSettings();
  try {
    return await work();
  } finally {
    running -= 1;
    lockSettings();
  }
}

function showSeen() {
  const threshold = Number(find('threshold').value) / 100;
  const objects = (seen.result.objects ?? []).filter(({ score }) => score >= threshold);
  draw(find('picture'), seen, objects);
  view.showStatus(view.showResult(seen.result, objects));
}

async function lookAtFile(file) {
  if (!file || !ready) return;
  view.pressExample(null);
  await look(file, file.name || 'the picture');
}

async function offerExamples() {
  const photos = (await goldenInputs()).filter(({ name }) => /^image\d/.test(name));
  view.showExamples(photos.slice(0, EXAMPLES), lookAtExample);
}

async function lookAtExample({ file, name }, button) {
  if (!ready) return;
  view.pressExample(button);
  try {
    await look(new Blob([await read(`golden/${file}`)]), name);
  } catch (error) {
    view.showError(error);
  }
}

async function startCamera() {
  if (cameraOpens) return;
  cameraOpens = true;
  view.clearError();
  try {
    await openCamera(find('preview'));
    view.showInFrame('camera');
    view.showStatus('The camera is on.');
    view.pressExample(null);
    find('shoot').focus();
  } catch (error) {
    view.showError(error);
  } finally {
    cameraOpens = false;
  }
}

async function shoot() {
  try {
    const frame = await frameOf(find('preview'));
    stopCamera();
    await look(frame, 'the camera’s picture');
  } catch (error) {
    view.showError(error);
  }
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
    const progress = (done, all) => view.showProgress(target, `Picture ${done} of ${all}`);
    const outcome = await whileRunning(() => engine.selfTest(progress));
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
    const runs = Number(find('runs').value);
    view.showBenchmark(await whileRunning(() => engine.benchmark(runs)), startUp);
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
  ready = on;
  for (const id of ['file', 'open-camera', 'self-test', 'benchmark']) find(id).disabled = !on;
  lockSettings();
}

function lockSettings() {
  const locked = !ready || running > 0;
  find('backend').disabled = locked;
  find('threads').disabled = locked || mostThreads() === 1;
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
    lookAtFile(event.dataTransfer.files[0]);
  };
}

offerThreads();
listen();
firstStart();
