#include "report.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "draw.h"

namespace mnv2 {
namespace {

using Json = nlohmann::ordered_json;

void print_json(const Json& json) {
  // Names of files and labels need not be UTF-8.
  std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

const char* task_name(Task task) {
  switch (task) {
    case Task::kDetection: return "detection";
    case Task::kSegmentation: return "segmentation";
    default: return "classification";
  }
}

/// null where there is no number, or one that JSON cannot say: infinity.
Json number_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

Json model_json(const Model& model) {
  const Artifact& artifact = model.manifest.artifact;
  return {{"task", task_name(model.manifest.task)},
          {"artifact", artifact.path},
          {"precision", artifact.precision},
          {"sha256", artifact.sha256}};
}

void add_classes(Json& json, const Prediction& found, const Manifest& manifest) {
  json["classes"] = Json::array();
  for (const ClassScore& score : found.classes) {
    json["classes"].push_back({manifest.label(score.index), score.probability});
  }
}

void add_objects(Json& json, const Prediction& found, const Manifest& manifest) {
  json["objects"] = Json::array();
  for (const Object& object : found.objects) {
    json["objects"].push_back({{"index", object.index},
                               {"label", manifest.label(object.index)},
                               {"score", static_cast<double>(object.score)},
                               {"box", object.box},
                               {"color", hex(class_color(object.index))}});
  }
}

void add_regions(Json& json, const Prediction& found, const Manifest& manifest) {
  json["seen"] = found.seen;
  json["regions"] = Json::array();
  for (const Region& region : found.regions) {
    Json entry = {{"index", region.index},
                  {"label", manifest.label(region.index)},
                  {"share", region.share}};
    entry["color"] = region.index == 0 ? Json(nullptr) : Json(hex(class_color(region.index)));
    json["regions"].push_back(entry);
  }
}

Json prediction_json(const Shown& shown, const Manifest& manifest) {
  Json json = {{"image", shown.image}};
  if (manifest.task == Task::kClassification) {
    add_classes(json, shown.prediction, manifest);
    return json;
  }
  json["width"] = shown.prediction.photo.width;
  json["height"] = shown.prediction.photo.height;
  if (manifest.task == Task::kDetection) add_objects(json, shown.prediction, manifest);
  if (manifest.task == Task::kSegmentation) add_regions(json, shown.prediction, manifest);
  json["picture"] = shown.picture.empty() ? Json(nullptr) : Json(shown.picture);
  return json;
}

void print_prediction(const Shown& shown, const Manifest& manifest) {
  const Prediction& found = shown.prediction;
  std::printf("%s (%d x %d)\n", shown.image.c_str(), found.photo.width, found.photo.height);
  for (const ClassScore& score : found.classes) {
    std::printf("  %5.1f%%  %s\n", 100 * score.probability, manifest.label(score.index).c_str());
  }
  for (const Object& object : found.objects) {
    std::printf("  %5.1f%%  %s  %s  %.0f,%.0f to %.0f,%.0f\n",
                100 * static_cast<double>(object.score), hex(class_color(object.index)).c_str(),
                manifest.label(object.index).c_str(), object.box[0], object.box[1], object.box[2],
                object.box[3]);
  }
  if (manifest.task == Task::kDetection && found.objects.empty()) std::puts("  nothing found");
  for (const Region& region : found.regions) {
    std::printf("  %5.1f%%  %-7s  %s\n", 100 * region.share,
                region.index == 0 ? "" : hex(class_color(region.index)).c_str(),
                manifest.label(region.index).c_str());
  }
  if (!shown.picture.empty()) std::printf("  drawn to %s\n", shown.picture.c_str());
}

Json self_test_json(const SelfTestResult& result, const Model& model) {
  Json json = model_json(model);
  json["pinned"] = is_pinned();
  json["reference"] = model.manifest.artifact.reference;
  json["passed"] = result.passed();
  json["outputs"] = Json::array();
  for (std::size_t i = 0; i < result.outputs.size(); ++i) {
    const OutputResult& output = result.outputs[i];
    const OutputSpec& asked = model.manifest.artifact.outputs[i];
    json["outputs"].push_back({{"name", output.output},
                               {"passed", output.passed},
                               {"exact", asked.exact},
                               {"equal_images", output.equal_images},
                               {"images", output.images},
                               {"sqnr_db", number_or_null(output.sqnr_db)},
                               {"min_sqnr_db", number_or_null(asked.min_sqnr_db)},
                               {"agreement", number_or_null(output.agreement)},
                               {"min_agreement", number_or_null(asked.min_agreement)}});
  }
  json["images"] = Json::array();
  for (const ImageResult& image : result.images) {
    Json entry = {{"image", image.image}, {"output", image.output}, {"equal", image.equal}};
    entry["difference"] = nullptr;
    if (image.first) {
      entry["difference"] = {{"index", image.first->index},
                             {"expected", static_cast<double>(image.first->expected)},
                             {"actual", static_cast<double>(image.first->actual)}};
    }
    json["images"].push_back(entry);
  }
  return json;
}

const char* verdict(bool passed) { return passed ? "PASS" : "FAIL"; }

void print_image(const ImageResult& image, bool exact) {
  const char* lead = exact ? verdict(image.equal) : "    ";
  std::printf("%s  %s, %s: ", lead, image.image.c_str(), image.output.c_str());
  if (image.equal) {
    std::puts("every bit");
  } else if (image.first) {
    std::printf("first difference at %zu: expected %.9g, got %.9g\n", image.first->index,
                static_cast<double>(image.first->expected),
                static_cast<double>(image.first->actual));
  } else {
    std::puts("differs outside the sample");
  }
}

void print_output(const OutputResult& output, const OutputSpec& asked) {
  std::printf("%s  %s: %zu of %zu images equal in every bit", verdict(output.passed),
              output.output.c_str(), output.equal_images, output.images);
  if (output.sqnr_db) {
    std::printf("; %.1f dB of at least %.1f dB", *output.sqnr_db, *asked.min_sqnr_db);
  }
  if (output.agreement) {
    std::printf("; %.2f%% agree of at least %.2f%%", 100 * *output.agreement,
                100 * *asked.min_agreement);
  }
  std::puts("");
}

}  // namespace

void print_predictions(const std::vector<Shown>& all, const Manifest& manifest, bool json) {
  if (json) {
    Json list = Json::array();
    for (const Shown& shown : all) list.push_back(prediction_json(shown, manifest));
    print_json(list);
    return;
  }
  for (const Shown& shown : all) print_prediction(shown, manifest);
}

void print_self_test(const SelfTestResult& result, const Model& model, bool json) {
  if (json) return print_json(self_test_json(result, model));
  const Artifact& artifact = model.manifest.artifact;
  std::printf("PASS  SHA-256: %smanifest.json, %s, golden\n", is_pinned() ? "program, " : "",
              artifact.path.c_str());
  for (std::size_t i = 0; i < result.images.size(); ++i) {
    print_image(result.images[i], artifact.outputs[i % artifact.outputs.size()].exact);
  }
  for (std::size_t i = 0; i < result.outputs.size(); ++i) {
    print_output(result.outputs[i], artifact.outputs[i]);
  }
}

void print_latency(const Latency& latency, const Model& model, bool json) {
  if (json) {
    Json object = model_json(model);
    object.update({{"load_ms", latency.load_ms},
                   {"first_ms", latency.first_ms},
                   {"samples_ms", latency.samples_ms},
                   {"min_ms", latency.min_ms},
                   {"p50_ms", latency.p50_ms},
                   {"p90_ms", latency.p90_ms},
                   {"p99_ms", latency.p99_ms},
                   {"mean_ms", latency.mean_ms},
                   {"warmup", latency.warmup},
                   {"iterations", latency.iterations},
                   {"threads", latency.threads},
                   {"peak_rss_bytes", latency.peak_rss_bytes}});
    return print_json(object);
  }
  std::printf("%s, %zu %s, %zu inferences after %zu to warm up\n",
              model.manifest.artifact.path.c_str(), latency.threads,
              latency.threads == 1 ? "thread" : "threads", latency.iterations,
              latency.warmup);
  std::printf("  load %.2f ms, first inference %.2f ms\n", latency.load_ms, latency.first_ms);
  std::printf("  min %.2f, p50 %.2f, p90 %.2f, p99 %.2f, mean %.2f ms\n", latency.min_ms,
              latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.mean_ms);
  std::printf("  peak memory of the process %.1f MiB\n",
              static_cast<double>(latency.peak_rss_bytes) / (1 << 20));
}

}  // namespace mnv2
