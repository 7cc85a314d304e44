#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model.h"
#include "runtime.h"

namespace mnv2 {

struct Difference {
  std::size_t index;  // in the flattened output
  float expected;
  float actual;
};

/// One output for one golden image.
struct ImageResult {
  std::string image;
  std::string output;
  bool equal = false;               // every bit that is known
  std::optional<Difference> first;  // none where only values outside the sample differ
};

/// One output over all golden images.
struct OutputResult {
  std::string output;
  bool passed = false;
  std::size_t equal_images = 0;
  std::size_t images = 0;
  std::optional<double> sqnr_db;    // of an output that need not be exact
  std::optional<double> agreement;  // of labels or detections that need not be exact
};

struct SelfTestResult {
  std::vector<ImageResult> images;
  std::vector<OutputResult> outputs;

  bool passed() const;
};

using SeeOutputs =
    std::function<void(std::size_t index, const std::string& file, const std::vector<Tensor>&)>;

/// Runs the golden images, the first `most` of them, and judges as the manifest's self_test asks.
/// `see` gets what was computed.
SelfTestResult self_test(const Model& model, std::size_t most, const SeeOutputs& see);

}  // namespace mnv2
