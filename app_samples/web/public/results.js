// What the network's outputs say, by task. An output is { data, dims } with a batch axis of 1.
import { AppError } from './errors.js';
import { boxToPhoto, seenEdges } from './framing.js';
import { suppress } from './nms.js';

const NO_DETECTION = 0; // scores below it mark places that no detection took

const READERS = { classification, detection, segmentation };

/** `photo` is the upright photo's size; `edges` of the result say what the network saw of it. */
export function interpret(outputs, manifest, photo) {
  const { task, preprocess } = manifest.spec;
  const edges = seenEdges(photo, preprocess);
  return { task, edges, ...READERS[task](outputs, manifest, edges) };
}

function classification({ logits }, { options, spec }) {
  const shares = options.softmax ? Array.from(logits.data) : softmax(logits.data);
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]); // stable
  return { classes: order.map((i) => ({ class: i, label: label(spec, i), share: shares[i] })) };
}

export function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function detection(outputs, { spec }, edges) {
  const rows = outputs.detections
    ? unpack(outputs.detections.data)
    : suppress(outputs.scores.data, outputs.boxes.data, spec.classes, spec.detection);
  const objects = rows
    .map((row) => ({ ...row, label: label(spec, row.class), box: boxToPhoto(row.box, edges) }))
    .filter(({ box }) => box.right > box.left && box.bottom > box.top);
  return { objects };
}

/** Rows of x1, y1, x2, y2, score, class. */
function unpack(rows) {
  const found = [];
  for (let at = 0; at < rows.length; at += 6) {
    const [x1, y1, x2, y2, score, category] = rows.subarray(at, at + 6);
    if (score >= NO_DETECTION) found.push({ box: [x1, y1, x2, y2], score, class: category });
  }
  return found;
}

function segmentation({ labels, logits }, { spec }) {
  const map = labels ? Uint8Array.from(labels.data) : argmax(logits);
  const [height, width] = (labels ?? logits).dims.slice(-2);
  return { labels: map, width, height, regions: regions(map, spec) };
}

/** The class of every pixel; of equal logits the first. */
export function argmax({ data, dims }) {
  const [, classes, height, width] = dims;
  const pixels = height * width;
  const map = new Uint8Array(pixels);
  for (let i = 0; i < pixels; i++) {
    for (let k = 1; k < classes; k++) {
      if (data[k * pixels + i] > data[map[i] * pixels + i]) map[i] = k;
    }
  }
  return map;
}

/** Shares of the classes that are there, the background first, then the largest first. */
export function regions(map, spec) {
  const counts = new Array(spec.classes).fill(0);
  for (const index of map) {
    if (index >= spec.classes) {
      throw new AppError(`The model gave the label ${index}, but has ${spec.classes} classes.`);
    }
    counts[index] += 1;
  }
  return [...counts.keys()]
    .filter((i) => counts[i] > 0)
    .sort((a, b) => (a > 0) - (b > 0) || counts[b] - counts[a])
    .map((i) => ({ class: i, label: label(spec, i), share: counts[i] / map.length }));
}

function label({ labels }, index) {
  return labels?.[index] ?? `class ${index}`;
}
