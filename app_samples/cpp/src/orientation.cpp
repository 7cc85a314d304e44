#include "orientation.h"

#include <cstring>

namespace mnv2 {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::uint32_t kByte = 1, kShort = 3, kLong = 4;  // TIFF's types of one integer
constexpr std::size_t kEntrySize = 12;

/// Integers of a TIFF block in its byte order; reading beyond the end gives 0.
class TiffReader {
 public:
  TiffReader(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {
    valid_ = size >= 8 && (std::memcmp(data, "II*\0", 4) == 0 || std::memcmp(data, "MM\0*", 4) == 0);
    little_ = valid_ && data[0] == 'I';
  }
  bool valid() const { return valid_; }
  std::uint32_t integer(std::size_t at, std::size_t bytes) const {
    if (at > size_ || size_ - at < bytes) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      value = value << 8 | data_[at + (little_ ? bytes - 1 - i : i)];
    }
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  bool valid_ = false, little_ = false;
};

std::size_t bytes_of(std::uint32_t type) {
  return type == kByte ? 1 : type == kShort ? 2 : type == kLong ? 4 : 0;
}

/// Where the upright image's pixel (x, y) lies in a stored one of width x height.
struct Place {
  int x, y;
};

Place stored_place(int orientation, int x, int y, int width, int height) {
  switch (orientation) {
    case 2: return {width - 1 - x, y};
    case 3: return {width - 1 - x, height - 1 - y};
    case 4: return {x, height - 1 - y};
    case 5: return {y, x};
    case 6: return {y, height - 1 - x};
    case 7: return {width - 1 - y, height - 1 - x};
    case 8: return {width - 1 - y, x};
    default: return {x, y};
  }
}

}  // namespace

int exif_orientation(const std::uint8_t* data, std::size_t size) {
  const TiffReader tiff(data, size);
  if (!tiff.valid()) return 0;
  const std::size_t directory = tiff.integer(4, 4);
  const std::uint32_t entries = tiff.integer(directory, 2);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntrySize;
    if (tiff.integer(entry, 2) != kOrientationTag || tiff.integer(entry + 4, 4) != 1) continue;
    const std::uint32_t value = tiff.integer(entry + 8, bytes_of(tiff.integer(entry + 2, 2)));
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 0;
}

int xmp_orientation(const std::string& packet) {
  const std::string tag = "tiff:Orientation";
  for (std::size_t at = packet.find(tag); at != std::string::npos; at = packet.find(tag, at + 1)) {
    std::string rest = packet.substr(at + tag.size(), 3);
    if (rest.rfind("=\"", 0) == 0) rest.erase(0, 1);
    if (rest.size() < 2 || (rest[0] != '"' && rest[0] != '>')) continue;
    if (rest[1] >= '1' && rest[1] <= '8') return rest[1] - '0';
  }
  return 0;
}

Image upright(Image image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  Image turned;
  const bool sideways = orientation >= 5;
  turned.width = sideways ? image.height : image.width;
  turned.height = sideways ? image.width : image.height;
  turned.pixels.resize(image.pixels.size());
  std::uint8_t* to = turned.pixels.data();
  for (int y = 0; y < turned.height; ++y) {
    for (int x = 0; x < turned.width; ++x, to += 3) {
      const Place from = stored_place(orientation, x, y, image.width, image.height);
      std::memcpy(to, image.row(from.y) + std::size_t{3} * static_cast<std::size_t>(from.x), 3);
    }
  }
  return turned;
}

}  // namespace mnv2
