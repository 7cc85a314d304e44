#pragma once

#include <string>
#include <vector>

#include "model.h"

namespace mnv2 {

/// What one output must be for every golden image.
struct ExpectedOutput {
  std::vector<std::string> sha256;          // of an image's bytes; empty: the samples are all values
  std::size_t stride = 1;                   // every so many values, from the first, are sampled
  std::vector<std::vector<float>> samples;  // by image
};

/// The folder `golden`: images at the network's resolution and what a reference gives for them.
struct Golden {
  std::vector<std::string> names;
  std::vector<std::string> files;       // paths
  std::vector<ExpectedOutput> outputs;  // as in Artifact::outputs
};

/// Of a model; a Failure with kHash where a byte of the folder is not what the manifest means, with
/// kModel where it is no golden folder of this model.
Golden read_golden(const Model& model);

}  // namespace mnv2
