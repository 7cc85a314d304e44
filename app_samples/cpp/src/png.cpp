#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <png.h>

#include "failure.h"
#include "image.h"
#include "orientation.h"

namespace mnv2 {
namespace {

constexpr int kCompression = 4;  // of zlib's 9: faster than its usual 6, for files a little larger
constexpr png_uint_32 kMostSide = 0x7fffffff;  // `check_size` is what limits
constexpr int kColors = 256;
// Texts and profiles: a few kilobytes of a hostile file would each unfold to as many megabytes.
constexpr png_uint_32 kMostChunks = 64;
constexpr png_alloc_size_t kMostOfChunk = 1 << 22;

/// libpng's state. Its errors come back by longjmp, so what has a destructor lives in here and not
/// in the functions that are jumped out of.
struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const Bytes* file = nullptr;
  std::size_t at = 0;
  char message[256] = "";
  bool truncated = false;
  std::vector<std::uint8_t> rows;  // as libpng gives them: gray, palette indices or RGB
  std::vector<png_bytep> row_pointers;

  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* decoder = static_cast<Decoder*>(png_get_error_ptr(png));
  std::snprintf(decoder->message, sizeof decoder->message, "%s", message);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* decoder = static_cast<Decoder*>(png_get_io_ptr(png));
  if (decoder->file->size() - decoder->at < count) {
    decoder->truncated = true;
    png_error(png, "end of file");
  }
  std::memcpy(to, decoder->file->data() + decoder->at, count);
  decoder->at += count;
}

bool read_header(Decoder& decoder) {
  if (setjmp(png_jmpbuf(decoder.png))) return false;
  png_set_read_fn(decoder.png, &decoder, read_bytes);
  png_set_user_limits(decoder.png, kMostSide, kMostSide);
  png_set_chunk_cache_max(decoder.png, kMostChunks);
  png_set_chunk_malloc_max(decoder.png, kMostOfChunk);
  png_read_info(decoder.png, decoder.info);
  return true;
}

/// 8 bits per sample, without alpha; palettes stay indices, which need not all have a color.
bool choose_format(Decoder& decoder) {
  if (setjmp(png_jmpbuf(decoder.png))) return false;
  png_set_strip_16(decoder.png);  // the upper byte
  png_set_strip_alpha(decoder.png);
  png_set_packing(decoder.png);
  if (png_get_color_type(decoder.png, decoder.info) == PNG_COLOR_TYPE_GRAY) {
    png_set_expand_gray_1_2_4_to_8(decoder.png);
  }
  png_set_interlace_handling(decoder.png);
  png_read_update_info(decoder.png, decoder.info);
  return true;
}

bool read_rows(Decoder& decoder) {
  if (setjmp(png_jmpbuf(decoder.png))) return false;
  png_read_image(decoder.png, decoder.row_pointers.data());
  png_read_end(decoder.png, decoder.info);
  return true;
}

void check(bool done, const Decoder& decoder) {
  if (done) return;
  if (decoder.truncated) throw Failure(ExitCode::kImage, "the file is truncated");
  throw Failure(ExitCode::kImage, std::string("a damaged PNG: ") + decoder.message);
}

void open(Decoder& decoder, const Bytes& file) {
  decoder.file = &file;
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
  if (decoder.png != nullptr) decoder.info = png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) throw std::bad_alloc();
}

using Palette = std::array<std::array<std::uint8_t, 3>, kColors>;

Palette grays() {
  Palette palette{};
  for (std::size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<std::uint8_t>(i));
  return palette;
}

/// An index without a color is black.
Palette palette_of(const Decoder& decoder) {
  Palette palette{};
  png_colorp colors = nullptr;
  int count = 0;
  png_get_PLTE(decoder.png, decoder.info, &colors, &count);
  for (int i = 0; i < std::min(count, kColors); ++i) {
    palette[static_cast<std::size_t>(i)] = {colors[i].red, colors[i].green, colors[i].blue};
  }
  return palette;
}

std::vector<std::uint8_t> rgb_of(Decoder& decoder) {
  const int type = png_get_color_type(decoder.png, decoder.info);
  if (type == PNG_COLOR_TYPE_RGB) return std::move(decoder.rows);
  const Palette palette =
      type == PNG_COLOR_TYPE_PALETTE ? palette_of(decoder) : grays();
  std::vector<std::uint8_t> pixels;
  pixels.reserve(3 * decoder.rows.size());
  for (const std::uint8_t value : decoder.rows) {
    pixels.insert(pixels.end(), palette[value].begin(), palette[value].end());
  }
  return pixels;
}

int orientation_of(const Decoder& decoder) {
  png_bytep exif = nullptr;
  png_uint_32 size = 0;
  if (png_get_eXIf_1(decoder.png, decoder.info, &size, &exif) != 0) {
    const int found = exif_orientation(exif, size);
    if (found != 0) return found;
  }
  png_textp texts = nullptr;
  int count = 0;
  png_get_text(decoder.png, decoder.info, &texts, &count);
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(texts[i].key, "XML:com.adobe.xmp") != 0) continue;
    const int found = xmp_orientation(texts[i].text);
    if (found != 0) return found;
  }
  return 1;
}

struct Encoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes file;

  Encoder() = default;
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder() { png_destroy_write_struct(&png, &info); }
};

void append_bytes(png_structp png, png_bytep from, std::size_t count) {
  auto* encoder = static_cast<Encoder*>(png_get_io_ptr(png));
  encoder->file.insert(encoder->file.end(), from, from + count);
}

bool write_rows(Encoder& encoder, const Image& image) {
  if (setjmp(png_jmpbuf(encoder.png))) return false;
  png_set_write_fn(encoder.png, &encoder, append_bytes, nullptr);
  png_set_compression_level(encoder.png, kCompression);
  png_set_IHDR(encoder.png, encoder.info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(encoder.png, encoder.info);
  for (int y = 0; y < image.height; ++y) png_write_row(encoder.png, image.row(y));
  png_write_end(encoder.png, encoder.info);
  return true;
}

}  // namespace

Decoded decode_png(const Bytes& file) {
  Decoder decoder;
  open(decoder, file);
  check(read_header(decoder), decoder);
  const png_uint_32 width = png_get_image_width(decoder.png, decoder.info);
  const png_uint_32 height = png_get_image_height(decoder.png, decoder.info);
  check_size(width, height);
  check(choose_format(decoder), decoder);
  const std::size_t stride = png_get_rowbytes(decoder.png, decoder.info);
  decoder.rows.resize(stride * height);
  for (std::size_t y = 0; y < height; ++y) {
    decoder.row_pointers.push_back(decoder.rows.data() + y * stride);
  }
  check(read_rows(decoder), decoder);
  Decoded found;
  found.orientation = orientation_of(decoder);
  found.image.width = static_cast<int>(width);
  found.image.height = static_cast<int>(height);
  found.image.pixels = rgb_of(decoder);
  return found;
}

Bytes encode_png(const Image& image) {
  Encoder encoder;
  encoder.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, on_warning);
  if (encoder.png != nullptr) encoder.info = png_create_info_struct(encoder.png);
  if (encoder.info == nullptr) throw std::bad_alloc();
  if (!write_rows(encoder, image)) throw Failure(ExitCode::kOutput, "the PNG cannot be written");
  return std::move(encoder.file);
}

}  // namespace mnv2
