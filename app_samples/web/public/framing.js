// The part of a photo that the network sees, and the way back from its input to the photo.

/** A photo's size after the contract's resize, before its crop. */
export function resizedSize({ width, height }, { resize_rule: rule, resize_size: side }) {
  if (rule === 'stretch') return { width: side, height: side };
  const short = Math.min(width, height);
  const other = Math.max(side, Math.trunc((side * Math.max(width, height)) / short));
  return width <= height ? { width: side, height: other } : { width: other, height: side };
}

/** Where a centered crop begins; half pixels round to even. */
export function cropOffset(length, side) {
  const half = (length - side) / 2;
  const floor = Math.floor(half);
  return half - floor === 0.5 ? floor + (floor % 2) : Math.round(half);
}

/** Left, top, right and bottom of what is seen, in the photo's pixels. */
export function seenEdges(photo, contract) {
  const resized = resizedSize(photo, contract);
  const side = contract.crop_size;
  const [x, y] = [photo.width / resized.width, photo.height / resized.height];
  const [left, top] = [cropOffset(resized.width, side) * x, cropOffset(resized.height, side) * y];
  return { left, top, right: left + side * x, bottom: top + side * y };
}

/** A box in fractions of the network's input -> in the photo's pixels, cut off at what was seen. */
export function boxToPhoto([x1, y1, x2, y2], { left, top, right, bottom }) {
  const clip = (value) => Math.min(1, Math.max(0, value));
  const [width, height] = [right - left, bottom - top];
  return {
    left: left + clip(x1) * width,
    top: top + clip(y1) * height,
    right: left + clip(x2) * width,
    bottom: top + clip(y2) * height,
  };
}
