#include "image.h"

#include <cstring>

#include "failure.h"
#include "orientation.h"

namespace mnv2 {
namespace {

constexpr std::uint64_t kMostPixels = 178'956'970;  // 512 MiB of RGB

bool starts_with(const Bytes& file, const char* magic, std::size_t size) {
  return file.size() >= size && std::memcmp(file.data(), magic, size) == 0;
}

[[maybe_unused, noreturn]] void not_built_in(const std::string& format) {
  throw Failure(ExitCode::kImage, "this program was built without " + format);
}

Decoded decode(const Bytes& file) {
  if (starts_with(file, "\xff\xd8\xff", 3)) {
#ifdef MNV2_HAS_JPEG
    return decode_jpeg(file);
#else
    not_built_in("JPEG");
#endif
  }
  if (starts_with(file, "\x89PNG\r\n\x1a\n", 8)) {
#ifdef MNV2_HAS_PNG
    return decode_png(file);
#else
    not_built_in("PNG");
#endif
  }
  if (starts_with(file, "P5", 2) || starts_with(file, "P6", 2)) return decode_pnm(file);
  throw Failure(ExitCode::kImage, "not a JPEG, PNG, PPM or PGM image");
}

}  // namespace

Image read_image(const std::string& path) {
  const Bytes file = read_file(path, ExitCode::kImage);
  try {
    Decoded decoded = decode(file);
    return upright(std::move(decoded.image), decoded.orientation);
  } catch (const Failure& failure) {
    throw Failure(failure.code(), path + ": " + failure.what());
  }
}

bool can_write_image(const std::string& path) {
#ifdef MNV2_HAS_PNG
  if (extension(path) == ".png") return true;
#endif
  return extension(path) == ".ppm";
}

void write_image(const Image& image, const std::string& path) {
  if (!can_write_image(path)) {
    throw Failure(ExitCode::kUsage, path + ": this program cannot write such files");
  }
#ifdef MNV2_HAS_PNG
  const Bytes file = extension(path) == ".png" ? encode_png(image) : encode_ppm(image);
#else
  const Bytes file = encode_ppm(image);
#endif
  write_file(path, file.data(), file.size());
}

void check_size(std::uint64_t width, std::uint64_t height) {
  if (width == 0 || height == 0) throw Failure(ExitCode::kImage, "an image without pixels");
  if (width > kMostPixels || height > kMostPixels || width * height > kMostPixels) {
    throw Failure(ExitCode::kImage, "the image has too many pixels; scale it down first");
  }
}

}  // namespace mnv2
