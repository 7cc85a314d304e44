#include "framing.h"

#include <algorithm>
#include <cmath>

namespace mnv2 {
namespace {

/// The cell that each pixel's center falls on, -1 for none.
std::vector<int> nearest(int side, double low, double high, int cells) {
  std::vector<int> found;
  for (int i = 0; i < side; ++i) {
    const double cell = std::floor((i + 0.5 - low) / (high - low) * cells);
    found.push_back(cell >= 0 && cell < cells ? static_cast<int>(cell) : -1);
  }
  return found;
}

}  // namespace

Framing::Framing(Size photo, const Preprocess& contract) : photo_(photo) {
  const Size whole = resized(photo, contract);
  // The photo's pixels per resized one.
  const double x = static_cast<double>(photo.width) / whole.width;
  const double y = static_cast<double>(photo.height) / whole.height;
  const double left = crop_start(whole.width, contract) * x;
  const double top = crop_start(whole.height, contract) * y;
  edges_ = {left, top, left + contract.crop_size * x, top + contract.crop_size * y};
}

double Framing::share() const {
  const auto [left, top, right, bottom] = edges_;
  return (right - left) * (bottom - top) / (static_cast<double>(photo_.width) * photo_.height);
}

Box Framing::to_photo(const std::array<float, 4>& corners) const {
  Box box{};
  for (std::size_t i = 0; i < box.size(); ++i) {
    const double low = edges_[i % 2], size = edges_[i % 2 + 2] - low;
    box[i] = low + std::clamp(static_cast<double>(corners[i]), 0.0, 1.0) * size;
  }
  return box;
}

std::vector<std::uint8_t> Framing::to_photo(const std::vector<std::uint8_t>& labels,
                                            Size map) const {
  const std::vector<int> rows = nearest(photo_.height, edges_[1], edges_[3], map.height);
  const std::vector<int> columns = nearest(photo_.width, edges_[0], edges_[2], map.width);
  std::vector<std::uint8_t> found;
  found.reserve(rows.size() * columns.size());
  for (const int row : rows) {
    for (const int column : columns) {
      const bool seen = row >= 0 && column >= 0;
      const auto cell = static_cast<std::size_t>(row) * static_cast<std::size_t>(map.width) +
                        static_cast<std::size_t>(column);
      found.push_back(seen ? labels[cell] : std::uint8_t{0});
    }
  }
  return found;
}

}  // namespace mnv2
