// Pillow's antialiased resampling of 8-bit pixels, byte for byte: one axis at a time, with weights in
// 22-bit fixed point and every pass rounded to 8 bits. Pictures are { width, height, data }, four
// bytes per pixel as in ImageData; the fourth is not looked at and comes out as 255.

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

const triangle = (x) => Math.max(0, 1 - Math.abs(x));

function cubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

const FILTERS = {
  bilinear: { weight: triangle, support: 1 },
  bicubic: { weight: cubic, support: 2 },
};

/** Width first, then height: the order decides the rounding. */
export function resize(picture, width, height, filter) {
  const kind = FILTERS[filter];
  return resizeHeight(resizeWidth(picture, width, kind), height, kind);
}

/** For each place of a resized line: the first pixel that counts, and the weights from there on. */
function contributions(length, size, { weight, support }) {
  const scale = length / size;
  const stretch = Math.max(scale, 1); // antialiasing: the filter widens where pixels are merged
  const reach = support * stretch;
  return Array.from({ length: size }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const end = Math.min(length, Math.trunc(center + reach + 0.5));
    const weights = Array.from({ length: end - first }, (_, i) =>
      weight((i + first - center + 0.5) * (1 / stretch)),
    );
    const total = weights.reduce((sum, w) => sum + w, 0);
    return { first, weights: Int32Array.from(weights, (w) => toFixed(w / total)) };
  });
}

/** To the nearest integer, halves away from zero. */
function toFixed(weight) {
  return Math.trunc(weight * (1 << PRECISION_BITS) + (weight < 0 ? -0.5 : 0.5));
}

function resizeWidth(picture, width, kind) {
  if (width === picture.width) return picture;
  const steps = contributions(picture.width, width, kind);
  const result = blank(width, picture.height);
  for (let y = 0; y < picture.height; y++) {
    const line = y * picture.width * 4;
    for (let x = 0; x < width; x++) {
      const { first, weights } = steps[x];
      mix(picture.data, line + first * 4, 4, weights, result.data, (y * width + x) * 4);
    }
  }
  return result;
}

function resizeHeight(picture, height, kind) {
  if (height === picture.height) return picture;
  const steps = contributions(picture.height, height, kind);
  const result = blank(picture.width, height);
  const stride = picture.width * 4;
  for (let y = 0; y < height; y++) {
    const { first, weights } = steps[y];
    for (let x = 0; x < picture.width; x++) {
      mix(picture.data, first * stride + x * 4, stride, weights, result.data, y * stride + x * 4);
    }
  }
  return result;
}

/** One pixel: the weighted sum of those at `from`, `from + stride` and so on. */
function mix(source, from, stride, weights, target, to) {
  let red = HALF;
  let green = HALF;
  let blue = HALF;
  for (let i = 0, at = from; i < weights.length; i++, at += stride) {
    const weight = weights[i];
    red += source[at] * weight;
    green += source[at + 1] * weight;
    blue += source[at + 2] * weight;
  }
  // The target clamps to 0..255, as a bicubic filter overshoots.
  target[to] = red >> PRECISION_BITS;
  target[to + 1] = green >> PRECISION_BITS;
  target[to + 2] = blue >> PRECISION_BITS;
  target[to + 3] = 255;
}

function blank(width, height) {
  return { width, height, data: new Uint8ClampedArray(width * height * 4) };
}
