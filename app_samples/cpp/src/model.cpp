#include "model.h"

#include "failure.h"
#include "files.h"
#include "sha256.h"

#ifdef MNV2_HAS_CONTRACT
#include "model_contract.h"
#endif

namespace mnv2 {
namespace {

constexpr const char* kManifest = "manifest.json";

#ifdef MNV2_HAS_CONTRACT
constexpr const char* kPinned = contract::kManifestSha256;
#else
constexpr const char* kPinned = nullptr;
#endif

}  // namespace

bool is_pinned() { return kPinned != nullptr; }

void refuse_changed(const std::string& path) {
  throw Failure(ExitCode::kHash,
                path + (is_pinned() ? " was changed after `mnv2-export sample`; run it with --update"
                                    : ": wrong SHA-256; copy the model folder again"));
}

Manifest read_manifest(const std::string& folder, const std::string& artifact) {
  const std::string path = join(folder, kManifest);
  const Bytes bytes = read_file(path, ExitCode::kModel);
  if (is_pinned() && sha256(bytes.data(), bytes.size()) != kPinned) refuse_changed(path);
  return parse_manifest(std::string(bytes.begin(), bytes.end()), path, artifact);
}

Model open_model(const std::string& folder, const std::string& artifact) {
  Manifest manifest = read_manifest(folder, artifact);
  const std::string path = join(folder, manifest.artifact.path);
  const Bytes bytes = read_file(path, ExitCode::kModel);
  if (sha256(bytes.data(), bytes.size()) != manifest.artifact.sha256) refuse_changed(path);
  return {folder, path, std::move(manifest)};
}

std::string default_model_folder() {
  const std::string beside = program_folder();
  for (const std::string& folder :
       {join(beside, "model"), join(beside, "../model"), std::string("model")}) {
    if (is_directory(folder)) return folder;
  }
  throw Failure(ExitCode::kModel, "no model folder beside this program or here; name it: --model");
}

}  // namespace mnv2
