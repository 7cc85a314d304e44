#include "draw.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mnv2 {
namespace {

// The first seven are Okabe and Ito's ("Color Universal Design", 2008).
constexpr std::array<Color, 20> kPalette = {
    {{230, 159, 0},   {86, 180, 233},  {0, 158, 115},   {240, 228, 66}, {0, 114, 178},
     {213, 94, 0},    {204, 121, 167}, {135, 0, 240},   {0, 255, 135},  {135, 60, 45},
     {150, 120, 255}, {180, 240, 195}, {150, 165, 90},  {165, 0, 120},  {150, 240, 255},
     {180, 0, 0},     {225, 0, 90},    {255, 120, 150}, {210, 0, 180},  {135, 30, 195}}};
constexpr int kTint = 112;        // of 255: how much of a region is its color
constexpr int kLineShare = 200;   // a line is this part of the photo's shorter side

void fill(Image& image, int left, int top, int right, int bottom, const Color& color) {
  for (int y = std::max(top, 0); y < std::min(bottom, image.height); ++y) {
    for (int x = std::max(left, 0); x < std::min(right, image.width); ++x) {
      std::copy(color.begin(), color.end(), image.row(y) + 3 * x);
    }
  }
}

void draw_box(Image& image, const Box& box, const Color& color) {
  const int line = std::max(2, std::min(image.width, image.height) / kLineShare);
  const int left = static_cast<int>(std::lround(box[0])), top = static_cast<int>(std::lround(box[1]));
  const int right = static_cast<int>(std::lround(box[2]));
  const int bottom = static_cast<int>(std::lround(box[3]));
  fill(image, left, top, right, std::min(top + line, bottom), color);
  fill(image, left, std::max(bottom - line, top), right, bottom, color);
  fill(image, left, top, std::min(left + line, right), bottom, color);
  fill(image, std::max(right - line, left), top, right, bottom, color);
}

}  // namespace

Color class_color(std::size_t index) { return kPalette[(index - 1) % kPalette.size()]; }

std::string hex(const Color& color) {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", color[0], color[1], color[2]);
  return text;
}

void draw_objects(Image& photo, const std::vector<Object>& objects) {
  for (auto object = objects.rbegin(); object != objects.rend(); ++object) {
    draw_box(photo, object->box, class_color(object->index));
  }
}

void draw_regions(Image& photo, const std::vector<std::uint8_t>& labels) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == 0) continue;
    const Color color = class_color(labels[i]);
    for (std::size_t c = 0; c < 3; ++c) {
      std::uint8_t& value = photo.pixels[3 * i + c];
      value = static_cast<std::uint8_t>((value * (255 - kTint) + color[c] * kTint + 127) / 255);
    }
  }
}

}  // namespace mnv2
