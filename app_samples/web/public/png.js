// PNG to 8-bit RGB, in our own hands: a canvas multiplies colors by their alpha, and some browsers
// add noise to what is read back from it. Alpha is dropped, 16 bits keep the upper eight.
import { AppError } from './errors.js';

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by color type
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
const GRAY = [0, 4];
const PALETTE = 3;
const LARGEST = 2 ** 28; // pixels
const WHOLE = [[0, 0, 1, 1]]; // passes: first column, first row, and the steps
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

export function isPng(bytes) {
  return SIGNATURE.every((value, i) => bytes[i] === value);
}

/** -> { width, height, data, exif }: four bytes per pixel, the fourth 255; EXIF bytes or null. */
export async function decodePng(bytes) {
  const { header, palette, exif, parts } = readChunks(bytes);
  const passes = (header.interlaced ? ADAM7 : WHOLE)
    .map((pass) => ({ pass, ...passSize(header, pass) }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
  const expected = passes.reduce((sum, { rows, lineBytes }) => sum + rows * (1 + lineBytes), 0);
  const lines = await inflate(parts, expected);
  const data = new Uint8ClampedArray(header.width * header.height * 4).fill(255);
  let offset = 0;
  for (const { pass, columns, rows, lineBytes } of passes) {
    const end = offset + rows * (1 + lineBytes);
    unfilter(lines.subarray(offset, end), lineBytes, header.pixelBytes);
    spread(lines.subarray(offset, end), { pass, columns, rows, lineBytes }, header, palette, data);
    offset = end;
  }
  return { width: header.width, height: header.height, data, exif };
}

function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { header: null, palette: null, exif: null, parts: [] };
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') found.header = readHeader(body);
    if (type === 'PLTE') found.palette = body;
    if (type === 'eXIf') found.exif = body;
    if (type === 'IDAT') found.parts.push(body);
    if (type === 'IEND') break;
    at += 12 + length;
  }
  const { header, palette } = found;
  if (!header || (header.color === PALETTE && !palette)) throw damaged();
  return found;
}

function readHeader(body) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (body.length !== 13) throw damaged();
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, , , interlaced] = body.subarray(8);
  if (!DEPTHS[color]?.includes(depth) || interlaced > 1 || width * height === 0) throw damaged();
  if (width * height > LARGEST) {
    throw new AppError(`A picture of ${width} × ${height} is too large.`, 'Scale it down first.');
  }
  const bits = depth * CHANNELS[color];
  return { width, height, depth, color, interlaced, bits, pixelBytes: Math.ceil(bits / 8) };
}

function passSize({ width, height, bits }, [left, top, across, down]) {
  const columns = Math.ceil((width - left) / across);
  const rows = Math.ceil((height - top) / down);
  return { columns, rows, lineBytes: Math.ceil((columns * bits) / 8) };
}

/** So many bytes; a small file may hold gigabytes beyond, which are not read. */
async function inflate(parts, expected) {
  const lines = new Uint8Array(expected);
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate'));
  let length = 0;
  try {
    for (const reader = stream.getReader(); length <= expected; ) {
      const { done, value } = await reader.read();
      if (done) break;
      lines.set(value.subarray(0, Math.max(0, expected - length)), length);
      length += value.length;
      if (length > expected) await reader.cancel();
    }
  } catch {
    throw damaged(); // what is wrong with the stream is of no use to the person
  }
  if (length < expected) throw damaged();
  return lines;
}

/** Undo the line filters in place; every line begins with the number of its filter. */
function unfilter(lines, lineBytes, step) {
  const stride = lineBytes + 1;
  for (let start = 0; start < lines.length; start += stride) {
    const filter = lines[start];
    if (filter > 4) throw damaged();
    for (let i = 1; filter > 0 && i <= lineBytes; i++) {
      const left = i > step ? lines[start + i - step] : 0;
      const up = start > 0 ? lines[start + i - stride] : 0;
      const corner = start > 0 && i > step ? lines[start + i - stride - step] : 0;
      lines[start + i] += predicted(filter, left, up, corner);
    }
  }
}

function predicted(filter, left, up, corner) {
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const [byLeft, byUp] = [Math.abs(up - corner), Math.abs(left - corner)];
  const byCorner = Math.abs(left + up - 2 * corner);
  if (byLeft <= byUp && byLeft <= byCorner) return left;
  return byUp <= byCorner ? up : corner;
}

/** The pixels of one pass to their places. */
function spread(lines, { pass, columns, rows, lineBytes }, header, palette, data) {
  const [left, top, across, down] = pass;
  const { depth, color, width } = header;
  const samples = CHANNELS[color];
  const read = sampleReader(lines, depth);
  const gray = GRAY.includes(color);
  const levels = depth < 8 && gray ? 255 / (2 ** depth - 1) : 1;
  for (let row = 0; row < rows; row++) {
    const start = row * (lineBytes + 1) + 1;
    for (let column = 0; column < columns; column++) {
      const to = ((top + row * down) * width + left + column * across) * 4;
      const first = read(start, column * samples);
      for (let c = 0; c < 3; c++) {
        if (color === PALETTE) data[to + c] = palette[first * 3 + c] ?? 0;
        else data[to + c] = gray ? first * levels : read(start, column * samples + c);
      }
    }
  }
}

/** Of the line that starts there, the n-th sample; of 16 bits the upper eight. */
function sampleReader(lines, depth) {
  if (depth === 8) return (start, n) => lines[start + n];
  if (depth === 16) return (start, n) => lines[start + n * 2];
  const mask = 2 ** depth - 1;
  return (start, n) => {
    const bit = n * depth;
    return (lines[start + (bit >> 3)] >> (8 - depth - (bit & 7))) & mask;
  };
}

function damaged() {
  return new AppError('The PNG file is damaged.', 'Choose another picture.');
}
