// The share of detections that two results have in common, as mnv2-export counts it.

const COLUMNS = 6; // x1, y1, x2, y2, score, class
const SAME_BOX_IOU = 0.9;
const SAME_SCORE = 0.02;

/** Of one image's rows: how many there are in both, and how many of them have a counterpart. */
export function inCommon(expected, actual) {
  const [ours, theirs] = [taken(expected), taken(actual)];
  const free = new Set(theirs);
  for (const row of ours) {
    const best = nearest(row, free);
    if (best) free.delete(best);
  }
  return { rows: ours.length + theirs.length, matched: 2 * (theirs.length - free.size) };
}

/** Rows of a flat array; a score below zero is a place that no detection takes. */
function taken(values) {
  const rows = [];
  for (let at = 0; at + COLUMNS <= values.length; at += COLUMNS) {
    if (values[at + 4] >= 0) rows.push(values.slice(at, at + COLUMNS));
  }
  return rows;
}

/** The row of the same class and about the same score that overlaps most, where that is enough. */
function nearest(row, others) {
  let [best, most] = [null, -1];
  for (const other of others) {
    if (other[5] !== row[5] || Math.abs(other[4] - row[4]) >= SAME_SCORE) continue;
    const overlap = intersectionOverUnion(row, other);
    if (overlap > most) [best, most] = [other, overlap];
  }
  return most >= SAME_BOX_IOU ? best : null;
}

/** Two boxes that are equal overlap, even without area. */
function intersectionOverUnion(a, b) {
  if ([0, 1, 2, 3].every((i) => a[i] === b[i])) return 1;
  const inner =
    Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0) *
    Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const union = area(a) + area(b) - inner;
  return union > 0 ? inner / union : 0;
}

function area([x1, y1, x2, y2]) {
  return Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
}
