#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "image.h"

namespace mnv2 {

/// The orientation tag of an EXIF block (a TIFF header and its first directory), 1..8; 0: none.
int exif_orientation(const std::uint8_t* data, std::size_t size);

/// The same from an XMP packet, which some programs write instead.
int xmp_orientation(const std::string& packet);

/// The image as its orientation says it is to be seen.
Image upright(Image image, int orientation);

}  // namespace mnv2
