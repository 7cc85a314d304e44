#include "arguments.h"

#include <cstdlib>
#include <functional>
#include <map>

#include "failure.h"
#include "image.h"

namespace mnv2 {

const char* const kHelp =
    R"(mnv2_runner: runs a model of mnv2-export on this machine.

  mnv2_runner [options] IMAGE...           what the model sees
  mnv2_runner --self-test [options]        does it compute what it was built to compute
  mnv2_runner --benchmark [options] [IMAGE]  how long it takes

Every mode:
  --model DIR          folder with manifest.json; default: model/ beside this program, or here
  --artifact FILE      one of several artifacts of the manifest, by its file name
  --threads N          default: as many as ExecuTorch chooses
  --json               one JSON document instead of text
IMAGE (JPEG, PNG, 8-bit PPM or PGM):
  --top K              classes to name; default: 5
  --threshold T        lowest score of a detection; default: 0.4
  --out FILE           .png or .ppm: the photo with boxes or tinted regions
  --dump-results DIR   raw outputs, little-endian: NNN-image.output.f32 or .u8
  --dump-pixels FILE   stop before the network; its 8-bit RGB input of every image
  --dump-input FILE    stop before the network; its float32 input of every image
--self-test:
  --images N           only the first N golden images
  --dump-results DIR   as above
--benchmark (on a golden image, if none is given):
  --iterations N       default: 50
  --warmup N           default: 10
  --etdump FILE        profile some more inferences afterwards; for ExecuTorch's Inspector

Exit codes: 0 done; 1 the self-test failed; 2 usage; 3 an image cannot be read; 4 the model folder
is missing, damaged or asks for what this program cannot do; 5 wrong SHA-256; 6 ExecuTorch refused
the model; 7 a result cannot be written; 8 out of memory; 9 a fault of this program.
)";

namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Failure(ExitCode::kUsage, why + " (--help lists the options)");
}

constexpr std::size_t kMost = 1'000'000;
constexpr std::size_t kMostThreads = 256;  // a system that refuses one more makes ExecuTorch crash

std::size_t whole_number(const std::string& option, const std::string& text, std::size_t least,
                         std::size_t most = kMost) {
  const bool digits = !text.empty() && text.size() <= 7 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  const std::size_t value = digits ? std::strtoul(text.c_str(), nullptr, 10) : 0;
  if (!digits || value < least || value > most) {
    refuse(option + " takes a number from " + std::to_string(least) + " to " +
           std::to_string(most) + ", not '" + text + "'");
  }
  return value;
}

float fraction(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= 0.0F && value <= 1.0F)) {
    refuse(option + " takes a number from 0 to 1, not '" + text + "'");
  }
  return value;
}

using Setter = std::function<void(Arguments&, const std::string&)>;

Setter text(std::string Arguments::*field) {
  return [field](Arguments& a, const std::string& value) {
    if (value.empty()) refuse("an empty value");
    a.*field = value;
  };
}

Setter number(const char* option, std::size_t Arguments::*field, std::size_t least,
              std::size_t most = kMost) {
  return [=](Arguments& a, const std::string& value) {
    a.*field = whole_number(option, value, least, most);
  };
}

const std::map<std::string, Setter>& options_with_value() {
  static const std::map<std::string, Setter> options = {
      {"--model", text(&Arguments::model)},
      {"--artifact", text(&Arguments::artifact)},
      {"--out", text(&Arguments::out)},
      {"--etdump", text(&Arguments::etdump)},
      {"--dump-pixels", text(&Arguments::dump_pixels)},
      {"--dump-input", text(&Arguments::dump_input)},
      {"--dump-results", text(&Arguments::dump_results)},
      {"--threads", number("--threads", &Arguments::threads, 1, kMostThreads)},
      {"--images", number("--images", &Arguments::golden_images, 1)},
      {"--iterations", number("--iterations", &Arguments::iterations, 1)},
      {"--warmup", number("--warmup", &Arguments::warmup, 0)},
      {"--top",
       [](Arguments& a, const std::string& v) { a.wishes.top = whole_number("--top", v, 1); }},
      {"--threshold",
       [](Arguments& a, const std::string& v) { a.wishes.threshold = fraction("--threshold", v); }},
  };
  return options;
}

bool set_flag(Arguments& arguments, const std::string& word) {
  if (word == "--json") {
    arguments.json = true;
  } else if (word == "--self-test") {
    arguments.mode = Mode::kSelfTest;
  } else if (word == "--benchmark") {
    arguments.mode = Mode::kBenchmark;
  } else {
    return false;
  }
  return true;
}

void check(Arguments& arguments) {
  const std::size_t images = arguments.images.size();
  const bool predicts = arguments.mode == Mode::kPredict;
  if (!arguments.dump_pixels.empty() || !arguments.dump_input.empty()) {
    if (!predicts) refuse("--dump-pixels and --dump-input stop before the network");
    arguments.mode = Mode::kPreprocess;
  }
  if (predicts && images == 0) refuse("no image given");
  if (arguments.mode == Mode::kSelfTest && images > 0) refuse("--self-test has its own images");
  if (arguments.mode == Mode::kBenchmark && images > 1) refuse("--benchmark takes one image");
  if (arguments.out.empty()) return;
  if (arguments.mode != Mode::kPredict || images != 1) refuse("--out takes exactly one image");
  if (!can_write_image(arguments.out)) refuse("--out cannot write " + arguments.out);
}

}  // namespace

Arguments parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  bool only_images = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (only_images || word.size() < 2 || word[0] != '-') {
      arguments.images.push_back(word);
    } else if (word == "--help" || word == "-h") {
      arguments.mode = Mode::kHelp;
      return arguments;
    } else if (word == "--") {
      only_images = true;
    } else if (!set_flag(arguments, word)) {
      const auto option = options_with_value().find(word);
      if (option == options_with_value().end()) refuse("unknown option " + word);
      if (i + 1 == words.size()) refuse(word + " needs a value");
      option->second(arguments, words[++i]);
    }
  }
  check(arguments);
  return arguments;
}

}  // namespace mnv2
