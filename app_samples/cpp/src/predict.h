#pragma once

#include <optional>
#include <string>
#include <vector>

#include "classify.h"
#include "detect.h"
#include "image.h"
#include "model.h"
#include "runtime.h"
#include "segment.h"

namespace mnv2 {

struct Wishes {
  std::size_t top = 5;                  // classes to name
  float threshold = kDefaultThreshold;  // of detections
};

/// What a model says of one photo; of `classes`, `objects` and `regions` the task's own is filled.
struct Prediction {
  Image photo;  // upright
  std::vector<Tensor> outputs;
  std::vector<ClassScore> classes;
  std::vector<Object> objects;
  std::vector<Region> regions;
  std::vector<std::uint8_t> labels;  // of a segmenter, one of every pixel of the photo
  double seen = 1.0;                 // share of the photo that the network saw
};

/// Photo in, result out: all that an app needs.
class Predictor {
 public:
  explicit Predictor(const Model& model);

  /// A Failure with kImage where the file cannot be read.
  Prediction predict(const std::string& path, const Wishes& wishes);

 private:
  const Model& model_;
  Runtime runtime_;
};

/// The photo as the network sees it; a Failure names the file.
Image network_pixels(const Image& photo, const std::string& path, const Preprocess& contract);

/// A copy of the photo with boxes or tinted regions.
Image drawn(const Prediction& prediction, Task task);

}  // namespace mnv2
