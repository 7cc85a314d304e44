// suppress MODEL SCORES BOXES: what `detections_of` makes of raw float32 files, as lines of
// "score class x1 y1 x2 y2" with the floats in hexadecimal, so that no bit is lost.

#include <cstdio>
#include <cstring>

#include "detect.h"
#include "files.h"
#include "model.h"

namespace {

std::vector<float> floats_of(const char* path) {
  const mnv2::Bytes bytes = mnv2::read_file(path, mnv2::ExitCode::kUsage);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const mnv2::Manifest manifest = mnv2::read_manifest(argv[1], "");
  const std::vector<mnv2::Tensor> outputs = {{"scores", {}, floats_of(argv[2])},
                                             {"boxes", {}, floats_of(argv[3])}};
  for (const mnv2::Detection& found : mnv2::detections_of(outputs, manifest)) {
    std::printf("%a %zu", static_cast<double>(found.score), found.index);
    for (const float corner : found.corners) std::printf(" %a", static_cast<double>(corner));
    std::puts("");
  }
  return 0;
}
