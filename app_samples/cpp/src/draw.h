#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "detect.h"
#include "image.h"

namespace mnv2 {

using Color = std::array<std::uint8_t, 3>;

/// Of a class from 1 on, told apart by color-blind people too; beyond twenty they repeat.
Color class_color(std::size_t index);

/// "#e69f00", for the list that says what a color means.
std::string hex(const Color& color);

/// Boxes in their class's color, better ones above worse ones.
void draw_objects(Image& photo, const std::vector<Object>& objects);

/// Every class but the background as a tint; `labels` has one of every pixel.
void draw_regions(Image& photo, const std::vector<std::uint8_t>& labels);

}  // namespace mnv2
