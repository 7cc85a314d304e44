#include "detect.h"

#include <algorithm>

#include "failure.h"

namespace mnv2 {
namespace {

constexpr std::size_t kColumns = 6;  // x1, y1, x2, y2, score, class

float area(const std::array<float, 4>& box) {
  return std::max(box[2] - box[0], 0.0F) * std::max(box[3] - box[1], 0.0F);
}

/// Whether two boxes share more than `threshold` of their union.
bool overlap(const std::array<float, 4>& a, const std::array<float, 4>& b, float threshold) {
  const float width = std::max(std::min(a[2], b[2]) - std::max(a[0], b[0]), 0.0F);
  const float height = std::max(std::min(a[3], b[3]) - std::max(a[1], b[1]), 0.0F);
  const float inner = width * height;
  const float whole = area(a) + area(b) - inner;
  return inner > whole * threshold;
}

/// The best pairs of anchor and class above the score threshold, best first; of equals the lower
/// anchor, then class. Where there are more than `candidates`, those that tie with the first of the
/// others are left out as well: runtimes disagree about which of equals comes first.
std::vector<Detection> competitors(const std::vector<float>& scores,
                                   const std::vector<float>& boxes, const Manifest& manifest) {
  const Suppression& rule = manifest.suppression;
  std::vector<Detection> pairs;
  for (std::size_t anchor = 0; anchor < boxes.size() / 4; ++anchor) {
    const float* box = boxes.data() + 4 * anchor;
    for (std::size_t index = 1; index < manifest.classes; ++index) {
      const float score = scores[anchor * manifest.classes + index];
      if (score > rule.score_threshold) {
        pairs.push_back({score, index, {box[0], box[1], box[2], box[3]}});
      }
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Detection& a, const Detection& b) { return a.score > b.score; });
  if (pairs.size() <= rule.candidates) return pairs;
  const float floor = pairs[rule.candidates].score;
  while (!pairs.empty() && pairs.back().score <= floor) pairs.pop_back();
  return pairs;
}

/// Greedy non-maximum suppression, class by class.
std::vector<Detection> suppress(const std::vector<Detection>& candidates, const Suppression& rule) {
  std::vector<Detection> kept;
  for (const Detection& candidate : candidates) {
    std::size_t of_class = 0;
    bool covered = false;
    for (const Detection& better : kept) {
      if (better.index != candidate.index) continue;
      ++of_class;
      covered = covered || overlap(candidate.corners, better.corners, rule.iou_threshold);
    }
    if (!covered && of_class < rule.max_per_class) kept.push_back(candidate);
    if (kept.size() == rule.max_detections) break;
  }
  return kept;
}

/// Rows that hold a detection; the others have a score of -1.
std::vector<Detection> unpack(const std::vector<float>& rows, std::size_t classes) {
  std::vector<Detection> found;
  for (std::size_t at = 0; at + kColumns <= rows.size(); at += kColumns) {
    const float* row = rows.data() + at;
    if (!(row[4] >= 0.0F)) continue;
    if (!(row[5] >= 1.0F && row[5] < static_cast<float>(classes))) {
      throw Failure(ExitCode::kRuntime, "the model gave a class that it does not have");
    }
    found.push_back({row[4], static_cast<std::size_t>(row[5]), {row[0], row[1], row[2], row[3]}});
  }
  return found;
}

}  // namespace

std::vector<Detection> detections_of(const std::vector<Tensor>& outputs,
                                     const Manifest& manifest) {
  if (outputs.size() == 1) return unpack(outputs[0].floats(), manifest.classes);
  return suppress(competitors(outputs[0].floats(), outputs[1].floats(), manifest),
                  manifest.suppression);
}

std::vector<Object> objects_of(const std::vector<Detection>& detections, const Framing& framing,
                               float threshold) {
  std::vector<Object> objects;
  for (const Detection& found : detections) {
    const Box box = framing.to_photo(found.corners);
    const bool has_area = box[2] > box[0] && box[3] > box[1];
    if (has_area && found.score >= threshold) objects.push_back({found.score, found.index, box});
  }
  return objects;
}

}  // namespace mnv2
