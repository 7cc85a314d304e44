// The picture on the canvas, with what was found on it.
import { classColor, css, readableOn } from './palette.js';

const LONG_SIDE = 1280; // pixels of the canvas, whatever the photo has
const MASK_ALPHA = 150; // of 255

/** `seen` is what engine.predict gave; `objects` those of its objects that are to be shown. */
export function draw(canvas, { picture, width, height, result }, objects) {
  const scale = LONG_SIDE / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext('2d');
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.scale(canvas.width / width, canvas.height / height); // from here on in the photo's pixels
  shadeUnseen(context, { width, height }, result.edges);
  if (result.task === 'segmentation') drawMask(context, result);
  const unit = 1 / scale; // one pixel of the canvas
  const worstFirst = objects.toReversed(); // so that the best lie on top
  for (const object of worstFirst) drawBox(context, object, unit);
  const tags = placeTags(context, objects, unit);
  for (const tag of tags.toReversed()) drawTag(context, tag, unit);
}

function shadeUnseen(context, { width, height }, { left, top, right, bottom }) {
  context.fillStyle = 'rgb(0 0 0 / 55%)';
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(left, top, right - left, bottom - top);
  context.fill('evenodd');
}

function drawMask(context, { labels, width, height, edges }) {
  const mask = new ImageData(width, height);
  labels.forEach((label, i) => {
    if (label > 0) mask.data.set([...classColor(label), MASK_ALPHA], i * 4);
  });
  const layer = new OffscreenCanvas(width, height);
  layer.getContext('2d').putImageData(mask, 0, 0);
  context.imageSmoothingEnabled = false; // every pixel takes the label that its center falls on
  const { left, top, right, bottom } = edges;
  context.drawImage(layer, left, top, right - left, bottom - top);
}

function drawBox(context, { box, class: category }, unit) {
  const color = classColor(category);
  const strokes = [
    [8, readableOn(color)], // an edge that shows on any photo
    [5, css(color)],
  ];
  for (const [width, style] of strokes) {
    context.lineWidth = width * unit;
    context.strokeStyle = style;
    context.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  }
}

/** Above each box, or inside it where there is no room; lower where a better one has its tag. */
function placeTags(context, objects, unit) {
  context.font = `600 ${32 * unit}px system-ui, sans-serif`;
  const height = 46 * unit;
  const placed = [];
  for (const { box, label, score, class: category } of objects) {
    const text = `${label} ${Math.round(score * 100)} %`;
    const width = context.measureText(text).width + 20 * unit;
    const left = box.left - 2.5 * unit;
    let top = box.top >= height ? box.top - height : box.top;
    const covers = (other) =>
      left < other.left + other.width &&
      other.left < left + width &&
      top < other.top + height &&
      other.top < top + height;
    for (let other = placed.find(covers); other; other = placed.find(covers)) {
      top = other.top + height;
    }
    placed.push({ text, left, top, width, height, color: classColor(category) });
  }
  return placed;
}

function drawTag(context, { text, left, top, width, height, color }, unit) {
  context.textBaseline = 'middle';
  context.fillStyle = css(color);
  context.fillRect(left, top, width, height);
  context.fillStyle = readableOn(color);
  context.fillText(text, left + 10 * unit, top + height / 2);
}
