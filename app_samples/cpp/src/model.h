#pragma once

#include <string>

#include "manifest.h"
#include "runtime.h"

namespace mnv2 {

/// A model folder whose manifest is read and whose artifact is the one that the manifest means.
struct Model {
  std::string folder;
  std::string artifact_path;
  Manifest manifest;
};

/// Whether this program was made for one model, as `mnv2-export sample` does it.
bool is_pinned();

/// Of a file or folder that is not what this program, or the manifest, was made with.
[[noreturn]] void refuse_changed(const std::string& path);

/// Reads manifest.json of a folder, which a pinned program holds to the digest compiled into it.
Manifest read_manifest(const std::string& folder, const std::string& artifact);

/// The same and checks the artifact's digest: program -> manifest -> artifact.
Model open_model(const std::string& folder, const std::string& artifact);

/// `model` beside this program or its folder, where an app's own lies, or in the current folder.
std::string default_model_folder();

}  // namespace mnv2
