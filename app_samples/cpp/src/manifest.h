#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mnv2 {

enum class Task { kClassification, kDetection, kSegmentation };
enum class ResizeRule { kShortest, kStretch };
enum class ResizeFilter { kBilinear, kBicubic };
enum class DType { kFloat32, kUint8 };

/// From a photo to the network's input; docs/manifest.md of mnv2-export.
struct Preprocess {
  ResizeRule resize_rule = ResizeRule::kShortest;
  ResizeFilter resize_filter = ResizeFilter::kBilinear;
  int resize_size = 0;
  int crop_size = 0;
  bool bgr = false;
  std::array<float, 3> scale{};  // of x = u * scale + bias, in the network's channel order
  std::array<float, 3> bias{};
};

/// How a detector's scores and boxes become detections.
struct Suppression {
  std::size_t candidates = 0;
  std::size_t max_detections = 0;
  std::size_t max_per_class = 0;
  float iou_threshold = 0;
  float score_threshold = 0;
};

/// One output of the artifact, and what its self-test asks of it.
struct OutputSpec {
  std::string name;
  std::vector<std::size_t> shape;  // of one image's result
  DType dtype = DType::kFloat32;
  bool exact = false;
  std::optional<double> min_sqnr_db;
  std::optional<double> min_agreement;

  std::size_t count() const;
};

struct Artifact {
  std::string path;  // beside the manifest
  std::string precision;
  std::string sha256;
  std::string reference;  // the key in golden/expected.json
  std::vector<OutputSpec> outputs;
};

struct Manifest {
  Task task = Task::kClassification;
  std::size_t classes = 0;
  std::vector<std::string> labels;  // may be empty
  Preprocess preprocess;
  Suppression suppression;  // of a detector
  std::string golden_sha256;  // of the folder `golden`
  bool probabilities = false;  // a classifier's output is a softmax's
  Artifact artifact;

  /// Of a class, "class 7" where the model came without labels.
  std::string label(std::size_t index) const;
};

/// Reads and checks manifest.json; `artifact` chooses one by its file name, empty: the first .pte.
/// Failures: kModel where it is damaged or asks for what this program cannot do.
Manifest parse_manifest(const std::string& json, const std::string& path,
                        const std::string& artifact);

}  // namespace mnv2
