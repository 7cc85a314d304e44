#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "preprocess.h"

namespace mnv2 {

using Box = std::array<double, 4>;  // left, top, right, bottom

/// The part of a photo that the network sees, and the way back from its input to the photo.
class Framing {
 public:
  Framing(Size photo, const Preprocess& contract);

  const Box& edges() const { return edges_; }  // of what is seen, in the photo's pixels
  double share() const;                        // of the photo that is seen

  /// Fractions of the network's input -> the photo's pixels, cut off where nothing was seen.
  Box to_photo(const std::array<float, 4>& corners) const;

  /// Labels of a map -> one of every pixel of the photo, 0 where the network did not look.
  std::vector<std::uint8_t> to_photo(const std::vector<std::uint8_t>& labels, Size map) const;

 private:
  Size photo_;
  Box edges_;
};

}  // namespace mnv2
