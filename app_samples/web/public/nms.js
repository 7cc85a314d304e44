// Greedy non-maximum suppression within each class, in float32: the same detections as
// mnv2-export's own, ties included.

const f32 = Math.fround;

/**
 * Best first. `scores` are (anchors, classes) with the background as class 0, `boxes` are corners
 * (anchors, 4); `settings` is the manifest's `spec.detection`.
 */
export function suppress(scores, boxes, classes, settings) {
  const kept = [];
  const ofClass = Array.from({ length: classes }, () => []);
  const threshold = f32(settings.iou_threshold);
  for (const candidate of candidates(scores, classes, settings)) {
    const box = boxes.subarray(candidate.anchor * 4, candidate.anchor * 4 + 4);
    const rivals = ofClass[candidate.class];
    if (rivals.length === settings.max_per_class) continue;
    if (rivals.some((rival) => overlaps(box, rival, threshold))) continue;
    rivals.push(box);
    kept.push({ box: [...box], score: candidate.score, class: candidate.class });
    if (kept.length === settings.max_detections) break;
  }
  return kept;
}

/**
 * The best (anchor, class) pairs in order. Where there are too many, those that tie with the first
 * one too many go as well, so that no runtime's order of equal scores matters.
 */
function candidates(scores, classes, { score_threshold: threshold, candidates: most }) {
  const limit = f32(threshold);
  const pairs = [];
  scores.forEach((score, index) => {
    const category = index % classes;
    if (category > 0 && score > limit) {
      pairs.push({ score, anchor: (index - category) / classes, class: category });
    }
  });
  pairs.sort((a, b) => b.score - a.score); // stable: equal scores stay in their order
  if (pairs.length <= most) return pairs;
  const floor = pairs[most].score;
  return pairs.filter(({ score }) => score > floor);
}

/** Whether two boxes share more than `threshold` of their union. */
function overlaps(a, b, threshold) {
  const width = Math.max(f32(Math.min(a[2], b[2]) - Math.max(a[0], b[0])), 0);
  const height = Math.max(f32(Math.min(a[3], b[3]) - Math.max(a[1], b[1])), 0);
  const inner = f32(width * height);
  const union = f32(f32(area(a) + area(b)) - inner);
  return inner > f32(union * threshold);
}

function area([x1, y1, x2, y2]) {
  return f32(Math.max(f32(x2 - x1), 0) * Math.max(f32(y2 - y1), 0));
}
