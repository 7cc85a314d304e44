#include "benchmark.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <sys/resource.h>

namespace mnv2 {
namespace {

constexpr int kProfiledRuns = 10;

class Watch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double time_of_run(Runtime& runtime, std::vector<float>& input) {
  const Watch watch;
  runtime.run_only(input);
  return watch.ms();
}

/// Between the two nearest of the sorted values.
double percentile(const std::vector<double>& sorted, double percent) {
  const double place = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - std::floor(place));
}

std::uint64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace

Latency benchmark(const Model& model, std::vector<float> input, std::size_t warmup,
                  std::size_t iterations) {
  Latency found;
  found.warmup = warmup;
  found.iterations = iterations;
  found.threads = thread_count();
  const Watch watch;
  Runtime runtime(model.artifact_path, model.manifest);
  found.load_ms = watch.ms();
  found.first_ms = time_of_run(runtime, input);
  for (std::size_t i = 0; i < warmup; ++i) runtime.run_only(input);
  std::vector<double> times;
  for (std::size_t i = 0; i < iterations; ++i) times.push_back(time_of_run(runtime, input));
  found.peak_rss_bytes = peak_rss_bytes();
  found.samples_ms = times;
  for (const double time : times) found.mean_ms += time / static_cast<double>(times.size());
  std::sort(times.begin(), times.end());
  found.min_ms = times.front();
  found.p50_ms = percentile(times, 50);
  found.p90_ms = percentile(times, 90);
  found.p99_ms = percentile(times, 99);
  return found;
}

std::vector<std::uint8_t> profile(const Model& model, std::vector<float> input) {
  Runtime runtime(model.artifact_path, model.manifest, /*traced=*/true);
  for (int i = 0; i < kProfiledRuns; ++i) runtime.run_only(input);
  return runtime.profile();
}

}  // namespace mnv2
