// ONNX Runtime Web on the CPU (WebAssembly) or the GPU (WebGPU), loaded from this origin only.
import { AppError } from './errors.js';

const VENDOR = new URL('./vendor/', import.meta.url).href;
const MODULES = { wasm: 'ort.wasm.min.mjs', webgpu: 'ort.webgpu.min.mjs' };

/** How many threads a page may have here: one, unless its headers isolate it. */
export function mostThreads() {
  return globalThis.crossOriginIsolated ? navigator.hardwareConcurrency || 1 : 1;
}

export class Session {
  #ort;
  #session;

  /** `backend` is wasm or webgpu. Once per worker: the runtime keeps its first settings. */
  static async open(bytes, { backend, threads }) {
    if (backend === 'webgpu' && !(await navigator.gpu?.requestAdapter())) {
      throw new AppError('This browser offers no WebGPU here.', 'The CPU gives the same results.');
    }
    const session = new Session();
    session.#ort = await runtime(backend, threads);
    session.#session = await create(session.#ort, bytes, backend);
    return session;
  }

  /** Float32 planes (3, side, side) -> { name: { data, dims } }. */
  async run(planes, side) {
    const input = new this.#ort.Tensor('float32', planes, [1, 3, side, side]);
    const found = await this.#session.run({ [this.#session.inputNames[0]]: input });
    return Object.fromEntries(
      Object.entries(found).map(([name, { data, dims }]) => [name, { data, dims }]),
    );
  }
}

async function runtime(backend, threads) {
  try {
    const ort = await import(new URL(MODULES[backend], VENDOR));
    ort.env.wasm.wasmPaths = VENDOR;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = 'error';
    return ort;
  } catch {
    throw missingRuntime();
  }
}

async function create(ort, bytes, backend) {
  try {
    return await ort.InferenceSession.create(bytes, {
      executionProviders: [backend],
      graphOptimizationLevel: 'all',
    });
  } catch (error) {
    if (/no available backend|fetch|wasm/i.test(error.message)) throw missingRuntime();
    throw new AppError('ONNX Runtime does not take the model.', error.message);
  }
}

function missingRuntime() {
  return new AppError(
    'ONNX Runtime did not start: a file in vendor/ is missing or blocked.',
    'Run “npm install”, and serve .wasm as application/wasm.',
  );
}
