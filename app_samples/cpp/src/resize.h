#pragma once

#include "image.h"
#include "manifest.h"

namespace mnv2 {

/// Antialiased, separable, in 8-bit fixed point, byte for byte as Pillow does it: first the width,
/// then the height, each rounded to 8 bits.
Image resize(const Image& image, int width, int height, ResizeFilter filter);

}  // namespace mnv2
