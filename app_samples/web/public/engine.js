// The page's end of worker.js: what an app of your own needs.
//
//   const engine = new Engine();
//   const { spec } = await engine.load();
//   const { result, times } = await engine.predict(fileOrImageBitmap);
import { AppError } from './errors.js';

export class Engine {
  #worker = null;
  #calls = new Map();
  #next = 0;

  /** Starts afresh with `backend` (wasm or webgpu) and `threads`. */
  load({ backend = 'wasm', threads = 1 } = {}) {
    this.close();
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#stop(new AppError('The app did not start: one of its scripts is missing or blocked.'));
    };
    return this.#call('load', { backend, threads });
  }

  /** A picture file or an ImageBitmap -> what is on it, the raw outputs and the times. */
  predict(source) {
    return this.#call('predict', { source }, source instanceof ImageBitmap ? [source] : []);
  }

  selfTest(progress) {
    return this.#call('selfTest', {}, [], progress);
  }

  benchmark(runs, progress) {
    return this.#call('benchmark', { runs }, [], progress);
  }

  close() {
    this.#worker?.terminate();
    this.#stop(new AppError('Stopped.'));
  }

  #call(action, payload, transfer = [], progress = null) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject, progress });
      this.#worker.postMessage({ id, action, payload }, transfer);
    });
  }

  #receive({ id, value, error, progress }) {
    const call = this.#calls.get(id);
    if (progress) return call.progress?.(progress.done, progress.all);
    this.#calls.delete(id);
    if (!error) return call.resolve(value);
    return call.reject(
      error.name === 'AppError'
        ? new AppError(error.message, error.hint)
        : new AppError('Something went wrong in the app.', error.message),
    );
  }

  #stop(reason) {
    for (const { reject } of this.#calls.values()) reject(reason);
    this.#calls.clear();
  }
}
