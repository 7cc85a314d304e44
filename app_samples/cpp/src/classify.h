#pragma once

#include <vector>

#include "manifest.h"
#include "runtime.h"

namespace mnv2 {

struct ClassScore {
  std::size_t index;
  double probability;
};

/// The `top` likeliest classes, best first; of equals the lower index first.
std::vector<ClassScore> classify(const Tensor& output, const Manifest& manifest, std::size_t top);

}  // namespace mnv2
