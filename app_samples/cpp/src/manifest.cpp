#include "manifest.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "failure.h"
#include "files.h"

namespace mnv2 {
namespace {

using Json = nlohmann::json;

constexpr int kSchemaVersion = 1;
constexpr int kLargestSide = 1 << 14;  // px, of what a network may ask for

[[noreturn]] void refuse(const std::string& what) { throw Failure(ExitCode::kModel, what); }

const Json& at(const Json& object, const char* key) { return object.at(key); }

std::string text_of(const Json& object, const char* key) {
  return at(object, key).get<std::string>();
}

template <typename Value>
Value one_of(const Json& object, const char* key,
             std::initializer_list<std::pair<const char*, Value>> choices) {
  const std::string name = text_of(object, key);
  for (const auto& [choice, value] : choices) {
    if (name == choice) return value;
  }
  refuse(std::string(key) + " '" + name + "' is not known to this program");
}

std::size_t count_of(const Json& object, const char* key) {
  const auto value = at(object, key).get<std::int64_t>();
  if (value < 1 || value > (std::int64_t{1} << 31)) refuse(std::string(key) + " is out of range");
  return static_cast<std::size_t>(value);
}

int side_of(const Json& object, const char* key) {
  const std::size_t value = count_of(object, key);
  if (value > kLargestSide) refuse(std::string(key) + " is out of range");
  return static_cast<int>(value);
}

std::array<float, 3> three_of(const Json& object, const char* key) {
  const Json& values = at(object, key);
  if (!values.is_array() || values.size() != 3) refuse(std::string(key) + " must have 3 values");
  std::array<float, 3> found{};
  for (std::size_t i = 0; i < found.size(); ++i) found[i] = values[i].get<float>();
  return found;
}

Preprocess preprocess_of(const Json& manifest) {
  const Json& contract = at(at(manifest, "spec"), "preprocess");
  if (text_of(contract, "layout") != "nchw") refuse("the input's layout is not nchw");
  Preprocess found;
  found.resize_rule = one_of<ResizeRule>(
      contract, "resize_rule",
      {{"shortest", ResizeRule::kShortest}, {"stretch", ResizeRule::kStretch}});
  found.resize_filter = one_of<ResizeFilter>(
      contract, "resize_filter",
      {{"bilinear", ResizeFilter::kBilinear}, {"bicubic", ResizeFilter::kBicubic}});
  found.bgr = one_of<bool>(contract, "channel_order", {{"rgb", false}, {"bgr", true}});
  found.resize_size = side_of(contract, "resize_size");
  found.crop_size = side_of(contract, "crop_size");
  if (found.crop_size > found.resize_size) refuse("crop_size is larger than resize_size");
  const Json& normalize = at(manifest, "normalize");
  found.scale = three_of(normalize, "scale");
  found.bias = three_of(normalize, "bias");
  return found;
}

Suppression suppression_of(const Json& spec) {
  const Json& detection = at(spec, "detection");
  Suppression found;
  found.candidates = count_of(detection, "candidates");
  found.max_detections = count_of(detection, "max_detections");
  found.max_per_class = count_of(detection, "max_per_class");
  found.iou_threshold = at(detection, "iou_threshold").get<float>();
  found.score_threshold = at(detection, "score_threshold").get<float>();
  return found;
}

std::optional<double> number_or_null(const Json& object, const char* key) {
  const Json& value = at(object, key);
  return value.is_null() ? std::nullopt : std::optional<double>(value.get<double>());
}

OutputSpec output_of(const Json& object) {
  OutputSpec found;
  found.name = text_of(object, "name");
  double count = 1;
  for (const Json& side : at(object, "shape")) {
    found.shape.push_back(side.get<std::size_t>());
    count *= static_cast<double>(found.shape.back());
  }
  if (count < 1 || count > 1e9) refuse("output '" + found.name + "' has no usable shape");
  found.dtype =
      one_of<DType>(object, "dtype", {{"float32", DType::kFloat32}, {"uint8", DType::kUint8}});
  found.exact = at(object, "exact").get<bool>();
  found.min_sqnr_db = number_or_null(object, "min_sqnr_db");
  found.min_agreement = number_or_null(object, "min_agreement");
  if (!found.exact && !found.min_sqnr_db && !found.min_agreement) {
    refuse("output '" + found.name + "' is neither exact nor has it a limit");
  }
  return found;
}

Artifact artifact_of(const Json& object) {
  Artifact found;
  found.path = text_of(object, "path");
  if (found.path != file_name(found.path)) refuse("artifact '" + found.path + "' is not a name");
  found.precision = text_of(object, "precision");
  found.sha256 = text_of(object, "sha256");
  if (!object.contains("self_test") || object["self_test"].is_null()) {
    refuse("artifact '" + found.path + "' has no self_test; build again with this mnv2-export");
  }
  const Json& test = object["self_test"];
  found.reference = text_of(test, "reference");
  for (const Json& output : at(test, "outputs")) found.outputs.push_back(output_of(output));
  return found;
}

Artifact choose_artifact(const Json& artifacts, const std::string& wanted) {
  for (const Json& object : artifacts) {
    const std::string path = text_of(object, "path");
    if (wanted.empty() ? extension(path) == ".pte" : path == wanted) return artifact_of(object);
  }
  refuse(wanted.empty() ? "no .pte among the artifacts"
                        : "no artifact '" + wanted + "' in the manifest");
}

void check_options(const Json& options, std::size_t resolution, int crop_size) {
  if (at(options, "batch").get<int>() != 1) refuse("the model takes a batch; this program does not");
  if (text_of(options, "io") != "float32") refuse("the model's input is not float32");
  if (resolution != static_cast<std::size_t>(crop_size)) refuse("crop_size is not the resolution");
}

/// Whether an output is the one called `name`, with this type and number of axes.
bool is_output(const OutputSpec& output, const char* name, DType dtype, std::size_t axes) {
  return output.name == name && output.dtype == dtype && output.shape.size() == axes;
}

bool outputs_are_known(const Manifest& manifest) {
  const std::vector<OutputSpec>& outputs = manifest.artifact.outputs;
  constexpr DType kFloat = DType::kFloat32;
  if (manifest.task == Task::kDetection) {
    if (outputs.size() == 1) {
      return is_output(outputs[0], "detections", kFloat, 2) && outputs[0].shape[1] == 6;
    }
    return outputs.size() == 2 && is_output(outputs[0], "scores", kFloat, 2) &&
           is_output(outputs[1], "boxes", kFloat, 2) &&
           outputs[0].shape[1] == manifest.classes && outputs[1].shape[1] == 4 &&
           outputs[0].shape[0] == outputs[1].shape[0];
  }
  if (outputs.size() != 1) return false;
  const bool spatial = manifest.task == Task::kSegmentation;
  if (spatial && is_output(outputs[0], "labels", DType::kUint8, 2)) return true;
  return is_output(outputs[0], "logits", kFloat, spatial ? 3 : 1) &&
         outputs[0].shape[0] == manifest.classes;
}

void check_outputs(const Manifest& manifest) {
  if (outputs_are_known(manifest)) return;
  std::string names;
  for (const OutputSpec& output : manifest.artifact.outputs) names += " " + output.name;
  refuse("this program does not know what to do with the outputs" + names);
}

Manifest manifest_of(const Json& json, const std::string& artifact) {
  if (at(json, "schema_version").get<int>() != kSchemaVersion) {
    refuse("its schema_version is not 1; this program is older than the model");
  }
  const Json& spec = at(json, "spec");
  Manifest found;
  found.task = one_of<Task>(spec, "task",
                            {{"classification", Task::kClassification},
                             {"detection", Task::kDetection},
                             {"segmentation", Task::kSegmentation}});
  found.classes = count_of(spec, "classes");
  found.labels = at(spec, "labels").get<std::vector<std::string>>();
  if (!found.labels.empty() && found.labels.size() != found.classes) {
    refuse("it has not as many labels as classes");
  }
  found.preprocess = preprocess_of(json);
  if (found.task == Task::kDetection) found.suppression = suppression_of(spec);
  check_options(at(json, "options"), count_of(spec, "resolution"), found.preprocess.crop_size);
  found.probabilities = at(at(json, "options"), "softmax").get<bool>();
  found.golden_sha256 = text_of(json, "golden_sha256");
  found.artifact = choose_artifact(at(json, "artifacts"), artifact);
  check_outputs(found);
  return found;
}

}  // namespace

std::size_t OutputSpec::count() const {
  std::size_t product = 1;
  for (const std::size_t side : shape) product *= side;
  return product;
}

std::string Manifest::label(std::size_t index) const {
  return labels.empty() ? "class " + std::to_string(index) : labels.at(index);
}

Manifest parse_manifest(const std::string& json, const std::string& path,
                        const std::string& artifact) {
  try {
    return manifest_of(Json::parse(json), artifact);
  } catch (const Json::exception&) {
    refuse(path + ": damaged, or not a manifest of mnv2-export");
  } catch (const Failure& failure) {
    throw Failure(failure.code(), path + ": " + failure.what());
  }
}

}  // namespace mnv2
