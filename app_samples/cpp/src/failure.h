#pragma once

#include <stdexcept>
#include <string>

namespace mnv2 {

/// What the program says to the shell; README.md lists them.
enum class ExitCode : int {
  kOk = 0,
  kSelfTestFailed = 1,
  kUsage = 2,
  kImage = 3,
  kModel = 4,
  kHash = 5,
  kRuntime = 6,
  kOutput = 7,
  kMemory = 8,
  kFault = 9,
};

/// The one exception of this library: a line for people and the program's exit code.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The message of errno, for the end of a line: "No such file or directory".
std::string system_reason();

}  // namespace mnv2
