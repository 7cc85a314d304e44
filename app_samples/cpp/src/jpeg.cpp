#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jerror.h>
#include <jpeglib.h>

#include "failure.h"
#include "image.h"
#include "orientation.h"

namespace mnv2 {
namespace {

constexpr int kApp1 = JPEG_APP0 + 1;
constexpr unsigned kWholeMarker = 0xffff;
constexpr char kExif[] = "Exif\0";  // and the string's own 0
constexpr char kXmp[] = "http://ns.adobe.com/xap/1.0/";
constexpr int kMostScans = 500;         // a hostile progressive file has more, to take hours
constexpr long kMostMemory = 1L << 30;  // of libjpeg's own, for progressive files

/// libjpeg's state. Its errors come back by longjmp, so what has a destructor lives in here and
/// not in the functions that are jumped out of.
struct Decoder {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";
  bool created = false;
  Image image;
  std::vector<std::uint8_t> row;
  std::vector<std::uint8_t*> row_pointer;

  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() {
    if (created) jpeg_destroy_decompress(&jpeg);
  }
};

[[noreturn]] void on_error(j_common_ptr jpeg) {
  auto* decoder = static_cast<Decoder*>(jpeg->client_data);
  (*jpeg->err->format_message)(jpeg, decoder->message);
  std::longjmp(decoder->escape, 1);
}

void on_progress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= kMostScans) return;
  auto* decoder = static_cast<Decoder*>(jpeg->client_data);
  std::snprintf(decoder->message, sizeof decoder->message, "more than %d scans", kMostScans);
  std::longjmp(decoder->escape, 1);
}

void on_warning(j_common_ptr, int) {}

void no_message(j_common_ptr) {}

void no_step(j_decompress_ptr) {}

/// The file's end was reached too early: libjpeg then returns from what it does.
boolean no_more(j_decompress_ptr) { return FALSE; }

void skip(j_decompress_ptr jpeg, long count) {
  if (count <= 0) return;
  jpeg_source_mgr& source = *jpeg->src;
  const std::size_t step = std::min(static_cast<std::size_t>(count), source.bytes_in_buffer);
  source.next_input_byte += step;
  source.bytes_in_buffer -= step;
}

void set_up(Decoder& decoder, const Bytes& file) {
  decoder.jpeg.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = on_error;
  decoder.errors.emit_message = on_warning;
  decoder.errors.output_message = no_message;
  decoder.jpeg.client_data = &decoder;
  jpeg_create_decompress(&decoder.jpeg);
  decoder.created = true;
  decoder.jpeg.mem->max_memory_to_use = kMostMemory;
  decoder.progress.progress_monitor = on_progress;
  decoder.jpeg.progress = &decoder.progress;
  decoder.source.next_input_byte = file.data();
  decoder.source.bytes_in_buffer = file.size();
  decoder.source.init_source = no_step;
  decoder.source.fill_input_buffer = no_more;
  decoder.source.skip_input_data = skip;
  decoder.source.resync_to_restart = jpeg_resync_to_restart;
  decoder.source.term_source = no_step;
  decoder.jpeg.src = &decoder.source;
}

J_COLOR_SPACE color_space(int components) {
  return components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
}

enum class Step { kDone, kTruncated, kRefused };

/// Up to the size; nothing is decoded yet.
Step read_header(Decoder& decoder, const Bytes& file) {
  if (setjmp(decoder.escape)) return Step::kRefused;
  set_up(decoder, file);
  jpeg_save_markers(&decoder.jpeg, kApp1, kWholeMarker);
  return jpeg_read_header(&decoder.jpeg, TRUE) == JPEG_HEADER_OK ? Step::kDone : Step::kTruncated;
}

Step start(Decoder& decoder) {
  if (setjmp(decoder.escape)) return Step::kRefused;
  decoder.jpeg.out_color_space = color_space(decoder.jpeg.num_components);
  return jpeg_start_decompress(&decoder.jpeg) ? Step::kDone : Step::kTruncated;
}

/// One row into `decoder.row`.
Step read_row(Decoder& decoder) {
  if (setjmp(decoder.escape)) return Step::kRefused;
  const auto got = jpeg_read_scanlines(&decoder.jpeg, decoder.row_pointer.data(), 1);
  return got == 1 ? Step::kDone : Step::kTruncated;
}

void check(Step step, const Decoder& decoder) {
  if (step == Step::kTruncated) throw Failure(ExitCode::kImage, "the file is truncated");
  if (step == Step::kRefused) {
    throw Failure(ExitCode::kImage, std::string("a damaged JPEG: ") + decoder.message);
  }
}

/// a * b / 255, rounded.
int times(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// CMYK files hold the inks inverted, as Adobe's programs write them: 255 is no ink.
void append_cmyk(Image& image, const std::uint8_t* inks) {
  const int white = inks[3];
  for (int i = 0; i < 3; ++i) {
    const int level = white - times(255 - inks[i], white);
    image.pixels.push_back(static_cast<std::uint8_t>(std::clamp(level, 0, 255)));
  }
}

void append_row(Image& image, const std::vector<std::uint8_t>& row, int components) {
  if (components == 3) {
    image.pixels.insert(image.pixels.end(), row.begin(), row.end());
    return;
  }
  const auto step = static_cast<std::size_t>(components);
  for (std::size_t at = 0; at < row.size(); at += step) {
    if (components == 1) {
      image.pixels.insert(image.pixels.end(), 3, row[at]);
    } else {
      append_cmyk(image, row.data() + at);
    }
  }
}

int orientation_of(const jpeg_decompress_struct& jpeg) {
  std::string xmp;
  for (auto* marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->marker != kApp1) continue;
    const std::size_t size = marker->data_length;
    if (size > sizeof kExif && std::memcmp(marker->data, kExif, sizeof kExif) == 0) {
      const int found =
          exif_orientation(marker->data + sizeof kExif, size - sizeof kExif);
      if (found != 0) return found;
    } else if (size > sizeof kXmp && std::memcmp(marker->data, kXmp, sizeof kXmp) == 0) {
      xmp.assign(marker->data + sizeof kXmp, marker->data + size);
    }
  }
  const int found = xmp_orientation(xmp);
  return found == 0 ? 1 : found;
}

}  // namespace

Decoded decode_jpeg(const Bytes& file) {
  Decoder decoder;
  check(read_header(decoder, file), decoder);
  const jpeg_decompress_struct& jpeg = decoder.jpeg;
  const int components = jpeg.num_components;
  if (components != 1 && components != 3 && components != 4) {
    throw Failure(ExitCode::kImage, "a JPEG of " + std::to_string(components) + " components");
  }
  check_size(jpeg.image_width, jpeg.image_height);
  check(start(decoder), decoder);
  Image& image = decoder.image;
  image.width = static_cast<int>(jpeg.output_width);
  image.height = static_cast<int>(jpeg.output_height);
  decoder.row.resize(std::size_t{jpeg.output_width} * static_cast<std::size_t>(components));
  decoder.row_pointer = {decoder.row.data()};
  // Not `resize`: a header alone must not cost the memory of the pixels that it claims.
  image.pixels.reserve(std::size_t{jpeg.output_width} * jpeg.output_height * 3);
  for (int y = 0; y < image.height; ++y) {
    check(read_row(decoder), decoder);
    append_row(image, decoder.row, components);
  }
  return {std::move(decoder.image), orientation_of(jpeg)};
}

}  // namespace mnv2
