#pragma once

#include <vector>

#include "image.h"
#include "manifest.h"

namespace mnv2 {

struct Size {
  int width;
  int height;
};

/// A photo's size after the contract's resize, before its crop.
Size resized(Size photo, const Preprocess& contract);

/// Where the center crop starts along a side; half pixels round to even.
int crop_start(int side, const Preprocess& contract);

/// Resize and center crop: what the network sees, as 8-bit RGB of crop_size x crop_size.
Image to_pixels(const Image& photo, const Preprocess& contract);

/// The network's input, float32 (3, crop_size, crop_size).
std::vector<float> normalize(const Image& pixels, const Preprocess& contract);

}  // namespace mnv2
