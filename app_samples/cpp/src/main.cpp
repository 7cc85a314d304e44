#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "arguments.h"
#include "benchmark.h"
#include "failure.h"
#include "files.h"
#include "golden.h"
#include "model.h"
#include "predict.h"
#include "preprocess.h"
#include "report.h"
#include "self_test.h"

namespace {

using namespace mnv2;

std::string model_folder(const Arguments& arguments) {
  return arguments.model.empty() ? default_model_folder() : arguments.model;
}

/// Outputs have a file each: 003-photo.logits.f32.
void dump_outputs(const std::string& folder, std::size_t index, const std::string& image,
                  const std::vector<Tensor>& outputs) {
  if (folder.empty()) return;
  make_directory(folder);
  char number[16];
  std::snprintf(number, sizeof number, "%03zu-", index);
  for (const Tensor& output : outputs) {
    const std::string name = number + stem(image) + "." + output.name +
                             (output.has_floats() ? ".f32" : ".u8");
    write_file(join(folder, name), output.data(), output.size_bytes());
  }
}

ExitCode predict(const Arguments& arguments) {
  const Model model = open_model(model_folder(arguments), arguments.artifact);
  if (!arguments.out.empty() && model.manifest.task == Task::kClassification) {
    throw Failure(ExitCode::kUsage, "--out: a classifier finds nothing to draw");
  }
  Predictor predictor(model);
  std::vector<Shown> all;
  for (const std::string& image : arguments.images) {
    Shown shown{image, arguments.out, predictor.predict(image, arguments.wishes)};
    dump_outputs(arguments.dump_results, all.size(), image, shown.prediction.outputs);
    if (!arguments.out.empty()) {
      write_image(drawn(shown.prediction, model.manifest.task), arguments.out);
    }
    shown.prediction.photo.pixels = {};  // a folder of photos need not fit into memory
    shown.prediction.labels = {};
    shown.prediction.outputs = {};
    all.push_back(std::move(shown));
  }
  print_predictions(all, model.manifest, arguments.json);
  return ExitCode::kOk;
}

ExitCode preprocess(const Arguments& arguments) {
  const Manifest manifest = read_manifest(model_folder(arguments), arguments.artifact);
  Bytes pixels;
  std::vector<float> inputs;
  for (const std::string& path : arguments.images) {
    const Image image = network_pixels(read_image(path), path, manifest.preprocess);
    const std::vector<float> input = normalize(image, manifest.preprocess);
    pixels.insert(pixels.end(), image.pixels.begin(), image.pixels.end());
    inputs.insert(inputs.end(), input.begin(), input.end());
  }
  if (!arguments.dump_pixels.empty()) {
    write_file(arguments.dump_pixels, pixels.data(), pixels.size());
  }
  if (!arguments.dump_input.empty()) {
    write_file(arguments.dump_input, inputs.data(), inputs.size() * sizeof inputs[0]);
  }
  return ExitCode::kOk;
}

ExitCode run_self_test(const Arguments& arguments) {
  const Model model = open_model(model_folder(arguments), arguments.artifact);
  const SelfTestResult result = self_test(
      model, arguments.golden_images,
      [&](std::size_t index, const std::string& file, const std::vector<Tensor>& outputs) {
        dump_outputs(arguments.dump_results, index, file, outputs);
      });
  print_self_test(result, model, arguments.json);
  return result.passed() ? ExitCode::kOk : ExitCode::kSelfTestFailed;
}

ExitCode run_benchmark(const Arguments& arguments) {
  const Model model = open_model(model_folder(arguments), arguments.artifact);
  const Preprocess& contract = model.manifest.preprocess;
  const std::string path = arguments.images.empty()
                               ? read_golden(model).files.back()
                               : arguments.images.front();
  const std::vector<float> input =
      normalize(network_pixels(read_image(path), path, contract), contract);
  const Latency latency = benchmark(model, input, arguments.warmup, arguments.iterations);
  if (!arguments.etdump.empty()) {
    const Bytes dump = profile(model, input);
    write_file(arguments.etdump, dump.data(), dump.size());
  }
  print_latency(latency, model, arguments.json);
  return ExitCode::kOk;
}

ExitCode run(const Arguments& arguments) {
  if (arguments.mode == Mode::kHelp) {
    std::fputs(kHelp, stdout);
    return ExitCode::kOk;
  }
  if (arguments.mode == Mode::kPreprocess) return preprocess(arguments);
  set_up_runtime();
  set_threads(arguments.threads);
  if (arguments.mode == Mode::kSelfTest) return run_self_test(arguments);
  if (arguments.mode == Mode::kBenchmark) return run_benchmark(arguments);
  return predict(arguments);
}

ExitCode fail(ExitCode code, const std::string& why) {
  std::fprintf(stderr, "mnv2_runner: %s\n", why.c_str());
  return code;
}

ExitCode guarded(const std::vector<std::string>& words) {
  try {
    return run(parse_arguments(words));
  } catch (const Failure& failure) {
    return fail(failure.code(), failure.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return fail(ExitCode::kFault, std::string("a fault of this program: ") + error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const ExitCode code = guarded(std::vector<std::string>(argv + 1, argv + argc));
  const bool printed = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!printed && code == ExitCode::kOk) {
    return static_cast<int>(fail(ExitCode::kOutput, "standard output: " + system_reason()));
  }
  return static_cast<int>(code);
}
