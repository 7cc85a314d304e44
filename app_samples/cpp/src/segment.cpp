#include "segment.h"

#include <algorithm>

#include "failure.h"

namespace mnv2 {
namespace {

/// logits (classes, pixels) -> (pixels,)
std::vector<std::uint8_t> likeliest(const std::vector<float>& logits, std::size_t classes) {
  const std::size_t pixels = logits.size() / classes;
  std::vector<std::uint8_t> labels(pixels, 0);
  std::vector<float> best(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(pixels));
  for (std::size_t c = 1; c < classes; ++c) {
    const float* plane = logits.data() + c * pixels;
    for (std::size_t i = 0; i < pixels; ++i) {
      if (!(plane[i] > best[i])) continue;
      best[i] = plane[i];
      labels[i] = static_cast<std::uint8_t>(c);
    }
  }
  return labels;
}

}  // namespace

LabelMap label_map(const Tensor& output, const Manifest& manifest) {
  if (manifest.classes > 256) throw Failure(ExitCode::kModel, "more than 256 classes of pixels");
  const std::size_t axes = output.shape.size();
  const Size size{static_cast<int>(output.shape[axes - 1]),
                  static_cast<int>(output.shape[axes - 2])};
  if (output.has_floats()) return {size, likeliest(output.floats(), manifest.classes)};
  for (const std::uint8_t label : output.bytes()) {
    if (label < manifest.classes) continue;
    throw Failure(ExitCode::kRuntime, "the model gave a class that it does not have");
  }
  return {size, output.bytes()};
}

std::vector<Region> regions_of(const LabelMap& map, const Manifest& manifest) {
  std::vector<std::size_t> counts(manifest.classes, 0);
  for (const std::uint8_t label : map.labels) ++counts[label];
  std::vector<Region> regions;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double share = static_cast<double>(counts[i]) / static_cast<double>(map.labels.size());
    if (counts[i] > 0) regions.push_back({i, share});
  }
  std::stable_sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) {
    if ((a.index == 0) != (b.index == 0)) return a.index == 0;
    return a.share > b.share;
  });
  return regions;
}

}  // namespace mnv2
