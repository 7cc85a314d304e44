#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"

namespace mnv2 {

struct Latency {
  double load_ms = 0;   // cold: the first in this process
  double first_ms = 0;  // the first inference
  std::vector<double> samples_ms;  // after the warm-up, in the order they were timed
  double min_ms = 0, p50_ms = 0, p90_ms = 0, p99_ms = 0, mean_ms = 0;  // after the warm-up
  std::size_t warmup = 0;
  std::size_t iterations = 0;
  std::size_t threads = 0;
  std::uint64_t peak_rss_bytes = 0;  // of the process
};

/// Times inferences alone: no reading, preprocessing or copying of results.
Latency benchmark(const Model& model, std::vector<float> input, std::size_t warmup,
                  std::size_t iterations);

/// Profiles a few inferences of a second copy of the program; an ETDump file.
std::vector<std::uint8_t> profile(const Model& model, std::vector<float> input);

}  // namespace mnv2
