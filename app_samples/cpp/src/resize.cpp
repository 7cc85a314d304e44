#include "resize.h"

#include <algorithm>
#include <cmath>

namespace mnv2 {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // of a weight; a sum of products fits into 32 bits
constexpr double kCubic = -0.5;             // the a of Catmull and Rom's spline

double triangle(double x) { return std::max(0.0, 1.0 - std::fabs(x)); }

double cubic(double x) {
  x = std::fabs(x);
  if (x < 1.0) return ((kCubic + 2.0) * x - (kCubic + 3.0)) * x * x + 1.0;
  return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * kCubic : 0.0;
}

struct Kernel {
  double (*weight)(double);
  double radius;
};

Kernel kernel_of(ResizeFilter filter) {
  return filter == ResizeFilter::kBicubic ? Kernel{cubic, 2.0} : Kernel{triangle, 1.0};
}

/// The source pixels first..first + weights.size() that one result is made of.
struct Taps {
  std::size_t first = 0;
  std::vector<std::int32_t> weights;
};

std::int32_t to_fixed(double weight) {
  const double scaled = weight * (1 << kPrecisionBits);
  return static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

Taps taps_at(int index, int from, int to, const Kernel& kernel) {
  const double scale = static_cast<double>(from) / to;
  const double stretch = std::max(scale, 1.0);  // antialiasing: the filter widens when shrinking
  const double support = kernel.radius * stretch, step = 1.0 / stretch;
  const double center = (index + 0.5) * scale;
  const int first = std::max(0, static_cast<int>(center - support + 0.5));
  const int last = std::min(from, static_cast<int>(center + support + 0.5));
  std::vector<double> weights;
  double total = 0.0;
  for (int i = first; i < last; ++i) {
    weights.push_back(kernel.weight((i - center + 0.5) * step));
    total += weights.back();
  }
  Taps taps{static_cast<std::size_t>(first), {}};
  for (const double weight : weights) {
    taps.weights.push_back(to_fixed(total != 0.0 ? weight / total : weight));
  }
  return taps;
}

std::vector<Taps> taps_of(int from, int to, ResizeFilter filter) {
  const Kernel kernel = kernel_of(filter);
  std::vector<Taps> all;
  for (int i = 0; i < to; ++i) all.push_back(taps_at(i, from, to, kernel));
  return all;
}

/// The weighted sum of values that lie `stride` bytes apart.
std::uint8_t weigh(const std::uint8_t* values, std::size_t stride, const Taps& taps) {
  std::int32_t sum = 1 << (kPrecisionBits - 1);
  for (const std::int32_t weight : taps.weights) {
    sum += *values * weight;
    values += stride;
  }
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

Image blank(int width, int height) {
  Image image;
  image.width = width;
  image.height = height;
  image.pixels.resize(std::size_t{3} * static_cast<std::size_t>(width) *
                      static_cast<std::size_t>(height));
  return image;
}

Image resize_width(const Image& image, int width, ResizeFilter filter) {
  if (width == image.width) return image;
  const std::vector<Taps> taps = taps_of(image.width, width, filter);
  Image result = blank(width, image.height);
  for (int y = 0; y < image.height; ++y) {
    std::uint8_t* to = result.row(y);
    for (const Taps& tap : taps) {
      const std::uint8_t* from = image.row(y) + 3 * tap.first;
      for (int c = 0; c < 3; ++c) *to++ = weigh(from + c, 3, tap);
    }
  }
  return result;
}

Image resize_height(const Image& image, int height, ResizeFilter filter) {
  if (height == image.height) return image;
  const std::vector<Taps> taps = taps_of(image.height, height, filter);
  const std::size_t stride = std::size_t{3} * static_cast<std::size_t>(image.width);
  Image result = blank(image.width, height);
  for (int y = 0; y < height; ++y) {
    const Taps& tap = taps[static_cast<std::size_t>(y)];
    const std::uint8_t* from = image.pixels.data() + tap.first * stride;
    std::uint8_t* to = result.row(y);
    for (std::size_t x = 0; x < stride; ++x) to[x] = weigh(from + x, stride, tap);
  }
  return result;
}

}  // namespace

Image resize(const Image& image, int width, int height, ResizeFilter filter) {
  return resize_height(resize_width(image, width, filter), height, filter);
}

}  // namespace mnv2
