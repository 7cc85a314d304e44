// From a decoded photo to the network's input, by the manifest's `spec.preprocess` and `normalize`.
import { AppError } from './errors.js';
import { cropOffset, resizedSize } from './framing.js';
import { resize } from './resize.js';

const LARGEST_RESULT = 2 ** 28; // pixels of a photo that was resized and is not yet cropped

/** Resize and center crop: what the network is shown, still 8-bit RGB. */
export function fit(photo, contract) {
  const target = resizedSize(photo, contract);
  if (target.width * Math.max(target.height, photo.height) > LARGEST_RESULT) {
    throw new AppError(
      `A photo of ${photo.width} × ${photo.height} would become ${target.width} × ${target.height}.`,
      'Crop it first.',
    );
  }
  const resized = resize(photo, target.width, target.height, contract.resize_filter);
  return centerCrop(resized, contract.crop_size);
}

function centerCrop(picture, side) {
  if (picture.width === side && picture.height === side) return picture;
  const [left, top] = [cropOffset(picture.width, side), cropOffset(picture.height, side)];
  const data = new Uint8ClampedArray(side * side * 4);
  for (let y = 0; y < side; y++) {
    const start = ((top + y) * picture.width + left) * 4;
    data.set(picture.data.subarray(start, start + side * 4), y * side * 4);
  }
  return { width: side, height: side, data };
}

/** Pixels -> float32 planes in the network's channel order. */
export function normalize({ width, height, data }, contract, { scale, bias }) {
  const planes = new Float32Array(3 * width * height);
  const order = contract.channel_order === 'bgr' ? [2, 1, 0] : [0, 1, 2];
  order.forEach((channel, plane) => {
    const table = levels(scale[plane], bias[plane]);
    const start = plane * width * height;
    for (let i = 0; i < width * height; i++) planes[start + i] = table[data[i * 4 + channel]];
  });
  return planes;
}

/** What each of the 256 values becomes: a product and a sum, both rounded to float32. */
function levels(scale, bias) {
  return Float32Array.from({ length: 256 }, (_, value) => Math.fround(value * scale) + bias);
}
