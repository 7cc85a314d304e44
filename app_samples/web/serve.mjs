// Serves public/ with the headers that the page needs: `node serve.mjs [--port 8080] [--host NAME]`.
import { createReadStream } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { isIPv6 } from 'node:net';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.onnx': 'application/octet-stream',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
};

const HEADERS = {
  // These two isolate the page, which is what browsers ask of it before they give it threads.
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  // Nothing is loaded from, or sent to, any other origin. Workers take it from here, not from HTML.
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' blob:",
    "connect-src 'self'",
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(self), microphone=(), geolocation=()',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-cache', // kept, but asked for again: see ETag
};

const NEEDED = {
  'vendor/ort-wasm-simd-threaded.wasm': 'run `npm install` (or `npm run vendor`) first',
  'model/manifest.json': 'make the app with `mnv2-export sample web --from BUILD --out APP`',
};

const root = await realpath(fileURLToPath(new URL('public/', import.meta.url)));

/** The file that a request path names, or null where that is none of ours. */
async function fileFor(path) {
  try {
    const name = decodeURIComponent(path);
    const file = await realpath(join(root, name.endsWith('/') ? `${name}index.html` : name));
    const info = await stat(file);
    return file.startsWith(root + sep) && info.isFile() ? { file, info } : null;
  } catch {
    return null; // not there, not decodable, or not a path
  }
}

async function answer(request, response) {
  const send = (status, headers = {}) => response.writeHead(status, { ...HEADERS, ...headers });
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return send(405, { Allow: 'GET, HEAD' }).end();
  }
  const found = await fileFor(request.url.split(/[?#]/, 1)[0]);
  if (!found) return send(404, { 'Content-Type': TYPES['.txt'] }).end('not found\n');
  const { file, info } = found;
  const etag = `"${info.size.toString(36)}-${Math.trunc(info.mtimeMs).toString(36)}"`;
  if (request.headers['if-none-match'] === etag) return send(304, { ETag: etag }).end();
  send(200, {
    'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
    'Content-Length': info.size,
    ETag: etag,
  });
  if (request.method === 'HEAD') return response.end();
  // Closes both ends, whichever fails: a browser that gives up half-way would leave the file open.
  return pipeline(createReadStream(file), response, () => {});
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string', default: '8080' },
        host: { type: 'string', default: '127.0.0.1' },
      },
    });
    const port = Number(values.port);
    if (!Number.isInteger(port) || port < 0 || port > 65535) {
      throw new Error(`--port ${values.port}: not a port`);
    }
    return { port, host: values.host };
  } catch (error) {
    return stop(error.message);
  }
}

function stop(line) {
  console.error(line);
  process.exit(1);
}

const { port, host } = options();
for (const [name, advice] of Object.entries(NEEDED)) {
  await access(join(root, name)).catch(() => stop(`public/${name} is missing: ${advice}`));
}
createServer(answer)
  .on('error', (error) => {
    if (error.code === 'EADDRINUSE') stop(`port ${port} is taken: choose another with --port`);
    stop(`cannot listen on ${host}:${port} (${error.code})`);
  })
  .listen(port, host, function listening() {
    const name = isIPv6(host) ? `[${host}]` : host === '127.0.0.1' ? 'localhost' : host;
    console.log(`http://${name}:${this.address().port}/`);
  });
