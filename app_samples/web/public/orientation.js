// EXIF orientation, for what the browser does not turn upright by itself.

const TAG = 0x0112;
const HEADER = 'Exif\0\0'; // before the TIFF bytes, in some files

/** 1 to 8, from EXIF bytes; 1 (upright) where they say nothing. */
export function orientationOf(exif) {
  if (!exif) return 1;
  const prefix = String.fromCharCode(...exif.subarray(0, HEADER.length));
  const tiff = prefix === HEADER ? exif.subarray(HEADER.length) : exif;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(directory, little); i++) {
      const entry = directory + 2 + i * 12;
      if (view.getUint16(entry, little) === TAG) {
        const value = view.getUint16(entry + 8, little);
        return value >= 1 && value <= 8 ? value : 1;
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // cut off: no orientation to be found
  }
  return 1;
}

/** The picture as it is meant to be looked at. */
export function upright(picture, orientation) {
  if (orientation === 1) return picture;
  const turned = orientation > 4;
  const [width, height] = turned
    ? [picture.height, picture.width]
    : [picture.width, picture.height];
  const from = new Uint32Array(picture.data.buffer, picture.data.byteOffset, width * height);
  const data = new Uint32Array(width * height);
  const mirrored = [2, 3, 7, 8].includes(orientation); // along the stored rows
  const flipped = [3, 4, 6, 7].includes(orientation); // along the stored columns
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [across, down] = turned ? [y, x] : [x, y];
      const column = mirrored ? picture.width - 1 - across : across;
      const row = flipped ? picture.height - 1 - down : down;
      data[y * width + x] = from[row * picture.width + column];
    }
  }
  return { width, height, data: new Uint8ClampedArray(data.buffer) };
}
