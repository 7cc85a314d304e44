// Keeps the page and its model for use without a network. While there is one, everything comes from
// there, so that a change on the server is seen at once. The page registers it with the model's
// version in the address: another model is another cache. The GPU's files, which are large, are not in
// the list: they are kept once they were used.

const PREFIX = `mnv2-sample ${new URL(self.registration.scope).pathname} `; // other apps of the origin
const CACHE = PREFIX + new URL(self.location).searchParams.get('model');
const FILES = [
  './',
  'agreement.js',
  'app.js',
  'benchmark.js',
  'camera.js',
  'decode.js',
  'draw.js',
  'engine.js',
  'errors.js',
  'framing.js',
  'icon.svg',
  'model.js',
  'model_contract.js',
  'nms.js',
  'orientation.js',
  'palette.js',
  'png.js',
  'preprocess.js',
  'resize.js',
  'results.js',
  'selftest.js',
  'session.js',
  'style.css',
  'vendor/ort-wasm-simd-threaded.mjs',
  'vendor/ort-wasm-simd-threaded.wasm',
  'vendor/ort.wasm.min.mjs',
  'view.js',
  'worker.js',
];

async function keepAll() {
  const json = async (name) => (await fetch(name)).json();
  const { artifacts } = await json('model/manifest.json');
  const { inputs } = await json('model/golden/expected.json');
  const model = [
    'model/manifest.json',
    `model/${artifacts[0].path}`,
    'model/golden/expected.json',
    ...inputs.map(({ file }) => `model/golden/${file}`),
  ];
  const cache = await caches.open(CACHE);
  await cache.addAll([...FILES, ...model]);
}

async function forgetOthers() {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(names.map((name) => caches.delete(name)));
}

async function answer(request) {
  const cache = await caches.open(CACHE).catch(() => null);
  const kept = await cache?.match(request, { ignoreSearch: true }).catch(() => undefined);
  const response = await fetch(request).catch(() => null);
  if (!response) return kept ?? Response.error();
  if (cache && response.ok && changed(kept, response)) {
    await cache.put(request, response.clone()).catch(() => {}); // no room: the page has a network
  }
  return response;
}

function changed(kept, response) {
  const tag = response.headers.get('ETag');
  return !kept || !tag || kept.headers.get('ETag') !== tag;
}

self.oninstall = (event) => {
  self.skipWaiting();
  event.waitUntil(keepAll());
};

self.onactivate = (event) => event.waitUntil(forgetOthers().then(() => self.clients.claim()));

self.onfetch = (event) => {
  const { request } = event;
  const ours = new URL(request.url).origin === self.location.origin;
  if (ours && request.method === 'GET') event.respondWith(answer(request));
};
