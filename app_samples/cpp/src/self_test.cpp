#include "self_test.h"

#include <algorithm>
#include <cstring>

#include "agreement.h"
#include "failure.h"
#include "golden.h"
#include "image.h"
#include "preprocess.h"
#include "sha256.h"

namespace mnv2 {
namespace {

/// The values at 0, stride, 2 * stride, ...
std::vector<float> sampled(const Tensor& tensor, std::size_t stride, std::size_t count) {
  std::vector<float> samples;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = i * stride;
    samples.push_back(tensor.has_floats() ? tensor.floats()[at] : tensor.bytes()[at]);
  }
  return samples;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// One output's verdict, collected image by image.
class Judge {
 public:
  Judge(const OutputSpec& spec, const ExpectedOutput& expected) : spec_(spec), expected_(expected) {
    result_.output = spec.name;
  }

  ImageResult see(std::size_t image, const std::string& name, const Tensor& actual) {
    const std::vector<float>& wanted = expected_.samples[image];
    const std::vector<float> found = sampled(actual, expected_.stride, wanted.size());
    ImageResult result{name, spec_.name, true, std::nullopt};
    for (std::size_t i = 0; i < wanted.size() && !result.first; ++i) {
      if (same_bits(wanted[i], found[i])) continue;
      result.first = Difference{i * expected_.stride, wanted[i], found[i]};
    }
    const bool digest = expected_.sha256.empty() ||
                        sha256(actual.data(), actual.size_bytes()) == expected_.sha256[image];
    result.equal = digest && !result.first;
    ++result_.images;
    result_.equal_images += result.equal;
    sqnr_.add(wanted, found);
    if (spec_.min_agreement) shared_.add(shared(wanted, found));
    return result;
  }

  OutputResult verdict() const {
    OutputResult result = result_;
    if (spec_.exact) {
      result.passed = result.equal_images == result.images;
    } else if (spec_.min_agreement) {
      result.agreement = shared_.share();
      result.passed = *result.agreement >= *spec_.min_agreement;
    } else if (spec_.min_sqnr_db) {
      result.sqnr_db = sqnr_.db();
      result.passed = *result.sqnr_db >= *spec_.min_sqnr_db;
    }
    return result;
  }

 private:
  Shared shared(const std::vector<float>& wanted, const std::vector<float>& found) const {
    if (spec_.dtype == DType::kUint8) return shared_labels(wanted, found);
    if (wanted.size() != spec_.count()) {
      throw Failure(ExitCode::kModel, "golden/expected.json has not all rows of " + spec_.name);
    }
    return shared_detections(wanted, found);
  }

  const OutputSpec& spec_;
  const ExpectedOutput& expected_;
  OutputResult result_;
  Sqnr sqnr_;
  Shared shared_;
};

/// A golden image is the network's own size: nothing is resized.
std::vector<float> golden_input(const std::string& file, const Preprocess& contract) {
  const Image image = read_image(file);
  if (image.width != contract.crop_size || image.height != contract.crop_size) {
    throw Failure(ExitCode::kModel, file + ": not of the network's resolution");
  }
  return normalize(image, contract);
}

}  // namespace

bool SelfTestResult::passed() const {
  return std::all_of(outputs.begin(), outputs.end(),
                     [](const OutputResult& output) { return output.passed; });
}

SelfTestResult self_test(const Model& model, std::size_t most, const SeeOutputs& see) {
  const Artifact& artifact = model.manifest.artifact;
  const Golden golden = read_golden(model);
  Runtime runtime(model.artifact_path, model.manifest);
  std::vector<Judge> judges;
  for (std::size_t i = 0; i < artifact.outputs.size(); ++i) {
    judges.emplace_back(artifact.outputs[i], golden.outputs[i]);
  }
  SelfTestResult result;
  for (std::size_t i = 0; i < std::min(most, golden.files.size()); ++i) {
    std::vector<float> input = golden_input(golden.files[i], model.manifest.preprocess);
    const std::vector<Tensor> outputs = runtime.run(input);
    see(i, golden.files[i], outputs);
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      result.images.push_back(judges[o].see(i, golden.names[i], outputs[o]));
    }
  }
  for (const Judge& judge : judges) result.outputs.push_back(judge.verdict());
  return result;
}

}  // namespace mnv2
