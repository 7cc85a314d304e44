#pragma once

#include <cstddef>
#include <string>

namespace mnv2 {

/// FIPS 180-4, as 64 lower-case hex digits.
std::string sha256(const void* data, std::size_t size);

}  // namespace mnv2
