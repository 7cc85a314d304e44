#pragma once

#include <cstdint>
#include <vector>

#include "manifest.h"
#include "preprocess.h"
#include "runtime.h"

namespace mnv2 {

/// The class of every pixel of the network's output.
struct LabelMap {
  Size size;
  std::vector<std::uint8_t> labels;
};

/// All pixels of one class.
struct Region {
  std::size_t index;  // 0 is the background
  double share;       // of what the network saw
};

/// From `logits`, the likeliest class (of equals the first), or from `labels`.
LabelMap label_map(const Tensor& output, const Manifest& manifest);

/// The classes of a map, the background first, then the largest first.
std::vector<Region> regions_of(const LabelMap& map, const Manifest& manifest);

}  // namespace mnv2
