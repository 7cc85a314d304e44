#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "manifest.h"

namespace mnv2 {

/// One output of one image, row-major.
struct Tensor {
  std::string name;
  std::vector<std::size_t> shape;
  std::variant<std::vector<float>, std::vector<std::uint8_t>> values;

  const std::vector<float>& floats() const { return std::get<std::vector<float>>(values); }
  const std::vector<std::uint8_t>& bytes() const {
    return std::get<std::vector<std::uint8_t>>(values);
  }
  bool has_floats() const { return std::holds_alternative<std::vector<float>>(values); }
  const void* data() const;
  std::size_t size_bytes() const;
};

/// ExecuTorch with one program loaded. Failures have ExitCode::kRuntime and say what ExecuTorch's
/// own code means.
class Runtime {
 public:
  /// Loads `path` and checks that its input and outputs are those of the manifest. `traced` keeps
  /// a profile, which costs time.
  Runtime(const std::string& path, const Manifest& manifest, bool traced = false);
  ~Runtime();
  Runtime(Runtime&&) noexcept;

  /// The outputs for one image's input (3, crop_size, crop_size), in the manifest's order.
  std::vector<Tensor> run(std::vector<float>& input);

  /// Runs without copying results, for timing.
  void run_only(std::vector<float>& input);

  /// The profile of all runs so far, as an ETDump file.
  std::vector<std::uint8_t> profile();

 private:
  struct Loaded;
  std::unique_ptr<Loaded> loaded_;
};

/// Call once, first: ExecuTorch stays silent, and where it would abort the program it says why and
/// exits.
void set_up_runtime();

/// 0 keeps what ExecuTorch chose.
void set_threads(std::size_t count);
std::size_t thread_count();

}  // namespace mnv2
