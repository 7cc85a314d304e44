#include "preprocess.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "failure.h"
#include "resize.h"

namespace mnv2 {
namespace {

constexpr double kMostResized = 1 << 28;  // pixels of a photo that was resized and is not yet cropped

Image crop(const Image& image, int left, int top, int size) {
  Image part;
  part.width = part.height = size;
  const auto bytes = std::size_t{3} * static_cast<std::size_t>(size);
  part.pixels.reserve(bytes * static_cast<std::size_t>(size));
  for (int y = top; y < top + size; ++y) {
    const std::uint8_t* from = image.row(y) + std::size_t{3} * static_cast<std::size_t>(left);
    part.pixels.insert(part.pixels.end(), from, from + bytes);
  }
  return part;
}

/// x = u * scale + bias of every u, in two roundings to float32.
std::array<float, 256> levels(float scale, float bias) {
  std::array<float, 256> table{};
  for (std::size_t u = 0; u < table.size(); ++u) table[u] = static_cast<float>(u) * scale + bias;
  return table;
}

}  // namespace

Size resized(Size photo, const Preprocess& contract) {
  const int side = contract.resize_size;
  if (contract.resize_rule == ResizeRule::kStretch) return {side, side};
  const auto [shorter, longer] = std::minmax(photo.width, photo.height);
  const double exact = static_cast<double>(side) * longer / shorter;
  if (exact > kMostResized) throw Failure(ExitCode::kImage, "too thin a photo; crop it first");
  const int other = std::max(side, static_cast<int>(exact));
  return photo.width <= photo.height ? Size{side, other} : Size{other, side};
}

int crop_start(int side, const Preprocess& contract) {
  const int spare = side - contract.crop_size, half = spare / 2;
  return spare % 2 == 0 || half % 2 == 0 ? half : half + 1;
}

Image to_pixels(const Image& photo, const Preprocess& contract) {
  const Size size = resized({photo.width, photo.height}, contract);
  if (static_cast<double>(size.width) * std::max(size.height, photo.height) > kMostResized) {
    throw Failure(ExitCode::kImage, "too thin a photo; crop it first");
  }
  const Image whole = resize(photo, size.width, size.height, contract.resize_filter);
  return crop(whole, crop_start(size.width, contract), crop_start(size.height, contract),
              contract.crop_size);
}

std::vector<float> normalize(const Image& pixels, const Preprocess& contract) {
  const std::size_t count = pixels.pixels.size() / 3;
  std::vector<float> planes;
  planes.reserve(3 * count);
  for (std::size_t c = 0; c < 3; ++c) {
    const std::array<float, 256> table = levels(contract.scale[c], contract.bias[c]);
    const std::uint8_t* from = pixels.pixels.data() + (contract.bgr ? 2 - c : c);
    for (std::size_t i = 0; i < count; ++i) planes.push_back(table[from[3 * i]]);
  }
  return planes;
}

}  // namespace mnv2
