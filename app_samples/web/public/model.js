// Reads model/: the app’s constants vouch for the manifest, and that for the model and golden/.
import { AppError } from './errors.js';
import { MANIFEST_SHA256 } from './model_contract.js';

const FOLDER = new URL('./model/', import.meta.url);
const SCHEMA_VERSION = 1;
const OUTPUTS = {
  classification: ['logits'],
  detection: ['scores,boxes', 'boxes,scores', 'detections'],
  segmentation: ['logits', 'labels'],
};

/** -> { manifest, artifact, bytes, checked }; `checked` is false where the browser cannot hash. */
export async function loadModel() {
  const text = await read('manifest.json');
  const checked = await verify(text, MANIFEST_SHA256, 'manifest.json');
  const manifest = JSON.parse(new TextDecoder().decode(text));
  const artifact = understood(manifest);
  const bytes = await read(artifact.path);
  await verify(bytes, artifact.sha256, artifact.path);
  return { manifest, artifact, bytes, checked };
}

/** Throws where golden/ is not what was built: a damaged expectation is no failed model. */
export async function checkGolden({ golden_sha256: expected }) {
  const names = ['expected.json', ...(await goldenInputs()).map(({ file }) => file)].sort();
  const parts = []; // as the exporter hashes a folder: every name, a zero, the size, the content
  for (const name of names) {
    const bytes = await read(`golden/${name}`);
    const size = new DataView(new ArrayBuffer(8));
    size.setBigUint64(0, BigInt(bytes.length), true);
    parts.push(`${name}\0`, size, bytes);
  }
  await verify(await new Blob(parts).arrayBuffer(), expected, 'golden');
}

/** The golden images: [{ name, file }]. */
export async function goldenInputs() {
  const text = new TextDecoder().decode(await read('golden/expected.json'));
  try {
    return JSON.parse(text).inputs;
  } catch {
    throw changed('golden/expected.json');
  }
}

/** The bytes of a file in model/. */
export async function read(name) {
  const response = await fetch(new URL(name, FOLDER)).catch(() => null);
  if (!response?.ok) {
    throw new AppError(
      `The model is not complete: model/${name} ${response ? 'is missing' : 'cannot be reached'}` +
        ` (${response ? response.status : 'no connection'}).`,
      'Make the app with “mnv2-export sample web”, or serve it again.',
    );
  }
  return new Uint8Array(await response.arrayBuffer());
}

/** Hex SHA-256, or null: browsers hash only for pages from https or localhost. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function verify(bytes, expected, name) {
  const found = await sha256(bytes);
  if (found !== null && found !== expected) throw changed(name);
  return found !== null;
}

function changed(name) {
  return new AppError(
    `model/${name} is not what this app was made for.`,
    'It is damaged, or model/ was changed after “mnv2-export sample”; run that with --update.',
  );
}

/** The one artifact of a manifest that this app can use; an AppError says what it cannot. */
function understood(manifest) {
  const refuse = (what) => {
    throw new AppError(`This app cannot use the model: ${what}.`, 'Update the app, or rebuild.');
  };
  if (manifest.schema_version !== SCHEMA_VERSION) {
    refuse(`its manifest has version ${manifest.schema_version}, not ${SCHEMA_VERSION}`);
  }
  const { artifacts, options, spec } = manifest;
  if (!Object.hasOwn(OUTPUTS, spec.task)) refuse(`its task is “${spec.task}”`);
  if (artifacts.length !== 1 || artifacts[0].target !== 'onnx') refuse('it is not one ONNX file');
  if (options.batch !== 1) refuse(`it takes ${options.batch} pictures at once`);
  if (options.io !== 'float32') refuse(`its input is ${options.io}`);
  if (!artifacts[0].self_test) refuse('its manifest has no self-test');
  const names = artifacts[0].self_test.outputs.map(({ name }) => name).join();
  if (!OUTPUTS[spec.task].includes(names)) refuse(`its outputs are “${names}”`);
  return artifacts[0];
}
