#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "files.h"

namespace mnv2 {

/// 8-bit RGB, rows from the top, no padding.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;

  std::uint8_t* row(int y) { return pixels.data() + offset(y); }
  const std::uint8_t* row(int y) const { return pixels.data() + offset(y); }

 private:
  std::size_t offset(int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) * 3;
  }
};

/// An image as its file has it, and the EXIF orientation (1..8) that makes it upright.
struct Decoded {
  Image image;
  int orientation = 1;
};

/// A JPEG, PNG, PPM or PGM file, upright; a Failure with kImage names the file.
Image read_image(const std::string& path);

/// Writes .png or .ppm; a Failure with kUsage for another name.
void write_image(const Image& image, const std::string& path);
bool can_write_image(const std::string& path);

/// Refuses sizes that a file's header may claim and memory would not hold.
void check_size(std::uint64_t width, std::uint64_t height);

// The formats; Failures do not name the file.
Decoded decode_jpeg(const Bytes& file);
Decoded decode_png(const Bytes& file);
Decoded decode_pnm(const Bytes& file);
Bytes encode_png(const Image& image);
Bytes encode_ppm(const Image& image);

}  // namespace mnv2
