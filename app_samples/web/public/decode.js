// From a file or a camera frame to upright 8-bit RGB pixels.
import { AppError } from './errors.js';
import { orientationOf, upright } from './orientation.js';
import { decodePng, isPng } from './png.js';

const STRIP = 1024; // rows read at once: phones limit the area of a canvas
const AS_STORED = {
  imageOrientation: 'from-image',
  premultiplyAlpha: 'none',
  colorSpaceConversion: 'none',
};

/** A Blob or an ImageBitmap -> { width, height, data }, as ImageData holds them. */
export async function decode(source) {
  if (source instanceof ImageBitmap) return readBitmap(source);
  const bytes = new Uint8Array(await source.arrayBuffer());
  if (isPng(bytes)) {
    const picture = await decodePng(bytes);
    return upright(picture, orientationOf(picture.exif));
  }
  const bitmap = await createImageBitmap(source, AS_STORED).catch(() => {
    throw new AppError(
      `${source.name ? `“${source.name}”` : 'This'} is not a picture that this browser can read.`,
      'Choose a JPEG, PNG or WebP file.',
    );
  });
  return readBitmap(bitmap);
}

function readBitmap(bitmap) {
  const { width, height } = bitmap;
  const data = new Uint8ClampedArray(width * height * 4);
  const canvas = new OffscreenCanvas(width, Math.min(STRIP, height));
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.globalCompositeOperation = 'copy';
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    context.drawImage(bitmap, 0, -top);
    data.set(context.getImageData(0, 0, width, rows).data, top * width * 4);
  }
  bitmap.close();
  return { width, height, data };
}
