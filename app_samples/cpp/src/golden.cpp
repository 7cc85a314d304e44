#include "golden.h"

#include <nlohmann/json.hpp>

#include "failure.h"
#include "files.h"
#include "sha256.h"

namespace mnv2 {
namespace {

using Json = nlohmann::json;

constexpr int kFormatVersion = 1;

void require(bool condition, const std::string& what) {
  if (!condition) throw Failure(ExitCode::kModel, what);
}

std::vector<std::vector<float>> rows_of(const Json& rows) {
  return rows.get<std::vector<std::vector<float>>>();
}

ExpectedOutput fingerprint_of(const Json& object, const OutputSpec& spec) {
  require(object.at("shape").get<std::vector<std::size_t>>() == spec.shape,
          "the shape of '" + spec.name + "' is not the manifest's");
  ExpectedOutput found;
  found.sha256 = object.at("sha256").get<std::vector<std::string>>();
  found.stride = object.at("stride").get<std::size_t>();
  found.samples = rows_of(object.at("samples"));
  return found;
}

/// Every sample must lie inside the output, or comparing would read beyond it.
void check(const ExpectedOutput& output, const OutputSpec& spec, std::size_t images) {
  require(output.samples.size() == images, "not one result for every image");
  require(output.sha256.empty() || output.sha256.size() == images, "not one digest per image");
  require(output.stride >= 1 && output.stride <= spec.count(), "a stride that is out of range");
  for (const std::vector<float>& row : output.samples) {
    const bool whole = !output.sha256.empty() || row.size() == spec.count();
    require(whole && !row.empty() && (row.size() - 1) * output.stride < spec.count(),
            "samples of another shape");
  }
}

Golden golden_of(const Json& json, const std::string& folder, const Artifact& artifact) {
  require(json.at("format_version").get<int>() == kFormatVersion, "its format_version is not 1");
  Golden found;
  for (const Json& input : json.at("inputs")) {
    const auto file = input.at("file").get<std::string>();
    require(file == file_name(file), "'" + file + "' is not the name of a file");
    found.names.push_back(input.at("name").get<std::string>());
    found.files.push_back(join(folder, file));
  }
  require(!found.files.empty(), "it has no images");
  const bool small = json.contains("logits");
  const Json& reference = json.at(small ? "logits" : "outputs").at(artifact.reference);
  for (const OutputSpec& spec : artifact.outputs) {
    ExpectedOutput output;
    if (small) {
      output.samples = rows_of(reference);
    } else {
      output = fingerprint_of(reference.at(spec.name), spec);
    }
    check(output, spec, found.files.size());
    found.outputs.push_back(std::move(output));
  }
  return found;
}

/// Of a folder's files in the order of their names: each name, a zero, the size and the contents.
std::string digest_of(const std::string& folder) {
  Bytes all;
  for (const std::string& name : file_names(folder)) {
    const Bytes content = read_file(join(folder, name), ExitCode::kModel);
    all.insert(all.end(), name.begin(), name.end());
    all.push_back(0);
    const std::uint64_t size = content.size();
    for (int i = 0; i < 8; ++i) all.push_back(static_cast<std::uint8_t>(size >> (8 * i)));
    all.insert(all.end(), content.begin(), content.end());
  }
  return sha256(all.data(), all.size());
}

}  // namespace

Golden read_golden(const Model& model) {
  const std::string folder = join(model.folder, "golden"), path = join(folder, "expected.json");
  const Bytes bytes = read_file(path, ExitCode::kModel);
  if (digest_of(folder) != model.manifest.golden_sha256) refuse_changed(folder);
  try {
    return golden_of(Json::parse(bytes.begin(), bytes.end()), folder, model.manifest.artifact);
  } catch (const Json::exception&) {
    throw Failure(ExitCode::kModel, path + ": damaged, or of another model");
  } catch (const Failure& failure) {
    throw Failure(failure.code(), path + ": " + failure.what());
  }
}

}  // namespace mnv2
