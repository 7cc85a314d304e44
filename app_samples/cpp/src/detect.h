#pragma once

#include <array>
#include <vector>

#include "framing.h"
#include "manifest.h"
#include "runtime.h"

namespace mnv2 {

constexpr float kDefaultThreshold = 0.4F;

struct Detection {
  float score;
  std::size_t index;            // class, from 1 on
  std::array<float, 4> corners;  // x1, y1, x2, y2 in fractions of the network's input
};

/// One object on the photo.
struct Object {
  float score;
  std::size_t index;
  Box box;  // in the photo's pixels
};

/// What a detector's outputs say, best first: `detections` as they are, `scores` and `boxes` after
/// non-maximum suppression.
std::vector<Detection> detections_of(const std::vector<Tensor>& outputs, const Manifest& manifest);

/// Those that score `threshold` at least and have an area on the photo.
std::vector<Object> objects_of(const std::vector<Detection>& detections, const Framing& framing,
                               float threshold);

}  // namespace mnv2
