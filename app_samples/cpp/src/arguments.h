#pragma once

#include <string>
#include <vector>

#include "predict.h"

namespace mnv2 {

enum class Mode { kPredict, kSelfTest, kBenchmark, kPreprocess, kHelp };

/// What the command line asks for; empty strings were not given.
struct Arguments {
  Mode mode = Mode::kPredict;
  std::vector<std::string> images;
  std::string model;
  std::string artifact;
  Wishes wishes;
  std::string out;
  bool json = false;
  std::size_t threads = 0;
  std::size_t golden_images = static_cast<std::size_t>(-1);
  std::size_t iterations = 50;
  std::size_t warmup = 10;
  std::string etdump;
  std::string dump_pixels;
  std::string dump_input;
  std::string dump_results;
};

/// A Failure with kUsage says what is wrong.
Arguments parse_arguments(const std::vector<std::string>& words);

extern const char* const kHelp;

}  // namespace mnv2
