// Binary PPM and PGM of 8 bits: what is left to read where a build has neither libjpeg nor libpng.

#include <cctype>

#include "failure.h"
#include "image.h"

namespace mnv2 {
namespace {

[[noreturn]] void refuse(const char* why) { throw Failure(ExitCode::kImage, why); }

/// The next number of the header; comments run from # to the end of a line.
std::uint64_t next_number(const Bytes& file, std::size_t& at) {
  while (at < file.size() && (std::isspace(file[at]) || file[at] == '#')) {
    if (file[at++] != '#') continue;
    while (at < file.size() && file[at] != '\n' && file[at] != '\r') ++at;
  }
  std::uint64_t value = 0;
  const std::size_t first = at;
  for (; at < file.size() && std::isdigit(file[at]) && at - first < 10; ++at) {
    value = value * 10 + (file[at] - std::uint64_t{'0'});
  }
  if (at == first) refuse("a damaged PPM header");
  return value;
}

}  // namespace

Decoded decode_pnm(const Bytes& file) {
  const bool gray = file[1] == '5';
  std::size_t at = 2;
  const std::uint64_t width = next_number(file, at), height = next_number(file, at);
  if (next_number(file, at) != 255) refuse("a PPM of other than 8 bits; convert it first");
  check_size(width, height);
  if (at == file.size() || !std::isspace(file[at])) refuse("a damaged PPM header");
  ++at;
  const std::size_t count = static_cast<std::size_t>(width * height);
  if (file.size() - at < count * (gray ? 1 : 3)) refuse("the file is truncated");
  Decoded found;
  found.image.width = static_cast<int>(width);
  found.image.height = static_cast<int>(height);
  found.image.pixels.reserve(3 * count);
  for (std::size_t i = 0; i < 3 * count; ++i) {
    found.image.pixels.push_back(file[at + (gray ? i / 3 : i)]);
  }
  return found;
}

Bytes encode_ppm(const Image& image) {
  const std::string header =
      "P6\n" + std::to_string(image.width) + " " + std::to_string(image.height) + "\n255\n";
  Bytes file(header.begin(), header.end());
  file.insert(file.end(), image.pixels.begin(), image.pixels.end());
  return file;
}

}  // namespace mnv2
