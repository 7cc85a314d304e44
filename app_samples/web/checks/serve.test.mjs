// The app's server, asked over a bare socket: clients tidy paths up before they send them.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after, before } from 'node:test';

const WORK = process.env.MNV2_WEB_WORK;
const APP = join(WORK, 'apps', 'classification');
let server;
let port;

before(async () => {
  server = spawn(process.execPath, ['serve.mjs', '--port', '0'], { cwd: APP });
  const line = await new Promise((done) => createInterface(server.stdout).once('line', done));
  port = Number(new URL(line).port);
});

after(() => server.kill());

/** The answer's text to a request as it is. */
function ask(path, { method = 'GET', headers = '' } = {}) {
  return new Promise((done, failed) => {
    const parts = [];
    connect(port, '127.0.0.1')
      .on('data', (part) => parts.push(part))
      .on('close', () => done(Buffer.concat(parts).toString('latin1')))
      .on('error', failed)
      .write(`${method} ${path} HTTP/1.1\r\nHost: x\r\n${headers}Connection: close\r\n\r\n`);
  });
}

test('types and headers', async () => {
  const types = {
    '/': 'text/html; charset=utf-8',
    '/app.js?x=1': 'text/javascript; charset=utf-8',
    '/vendor/ort.wasm.min.mjs': 'text/javascript; charset=utf-8',
    '/vendor/ort-wasm-simd-threaded.wasm': 'application/wasm',
    '/model/manifest.json': 'application/json',
  };
  for (const [path, type] of Object.entries(types)) {
    const answer = await ask(path, { method: 'HEAD' });
    assert.match(answer, /^HTTP\/1.1 200 /, path);
    assert.ok(answer.includes(`Content-Type: ${type}\r\n`), path);
    assert.match(answer, /Cross-Origin-Opener-Policy: same-origin/);
    assert.match(answer, /Cross-Origin-Embedder-Policy: require-corp/);
    assert.match(answer, /script-src 'self' 'wasm-unsafe-eval'/);
  }
});

test('nothing outside public/', async () => {
  const paths = [
    '/../package.json',
    '/..%2fpackage.json',
    '/%2e%2e/package.json',
    '/model/../../package.json',
    '/..\\package.json',
    '//etc/passwd',
    '/%00',
    '/%',
    '/model',
    '/nothing',
  ];
  for (const path of paths) assert.match(await ask(path), /^HTTP\/1.1 404 /, path);
  assert.match(await ask('/', { method: 'POST' }), /^HTTP\/1.1 405 /);
});

test('an unchanged file is not sent again', async () => {
  const [, tag] = (await ask('/app.js')).match(/ETag: (\S+)/);
  assert.match(await ask('/app.js', { headers: `If-None-Match: ${tag}\r\n` }), /^HTTP\/1.1 304 /);
});

test('a client that gives up leaves no file open', async () => {
  const folder = `/proc/${server.pid}/fd`;
  const open = () =>
    readdirSync(folder).filter((name) => {
      try {
        return readlinkSync(join(folder, name)).endsWith('.wasm');
      } catch {
        return false; // closed meanwhile
      }
    });
  for (let i = 0; i < 5; i++) {
    await new Promise((done) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write('GET /vendor/ort-wasm-simd-threaded.wasm HTTP/1.1\r\nHost: x\r\n\r\n');
      });
      socket.once('data', () => socket.destroy()).on('close', done);
    });
  }
  for (let i = 0; i < 50 && open().length; i++) await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(open(), []);
});

test('an IPv6 address in brackets', async () => {
  const other = spawn(process.execPath, ['serve.mjs', '--port', '0', '--host', '::1'], { cwd: APP });
  const line = await new Promise((done) => {
    for (const stream of [other.stdout, other.stderr]) createInterface(stream).once('line', done);
  });
  other.kill();
  assert.match(line, /^http:\/\/\[::1\]:\d+\/$|EADDRNOTAVAIL|EAFNOSUPPORT/);
});

test('one line says what is wrong', () => {
  const run = (cwd, ...options) =>
    spawnSync(process.execPath, ['serve.mjs', ...options], { cwd, encoding: 'utf8', timeout: 20_000 });
  const taken = run(APP, '--port', String(port));
  assert.equal(taken.status, 1);
  assert.equal(taken.stderr, `port ${port} is taken: choose another with --port\n`);
  assert.match(run(APP, '--port', 'http').stderr, /^--port http: not a port\n$/);
  const copy = mkdtempSync(join(WORK, 'bare-'));
  try {
    cpSync(APP, copy, { recursive: true, filter: (path) => !/node_modules|vendor$/.test(path) });
    assert.match(run(copy, '--port', '0').stderr, /^public\/vendor\/.* is missing: run `npm install`.*\n$/);
  } finally {
    rmSync(copy, { recursive: true });
  }
});
