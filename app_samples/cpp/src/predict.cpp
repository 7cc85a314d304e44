#include "predict.h"

#include "draw.h"
#include "failure.h"
#include "framing.h"
#include "preprocess.h"

namespace mnv2 {

Predictor::Predictor(const Model& model)
    : model_(model), runtime_(model.artifact_path, model.manifest) {}

Prediction Predictor::predict(const std::string& path, const Wishes& wishes) {
  const Manifest& manifest = model_.manifest;
  const Preprocess& contract = manifest.preprocess;
  Prediction found;
  found.photo = read_image(path);
  std::vector<float> input = normalize(network_pixels(found.photo, path, contract), contract);
  found.outputs = runtime_.run(input);

  const Framing framing({found.photo.width, found.photo.height}, contract);
  found.seen = framing.share();
  switch (manifest.task) {
    case Task::kClassification:
      found.classes = classify(found.outputs[0], manifest, wishes.top);
      break;
    case Task::kDetection:
      found.objects = objects_of(detections_of(found.outputs, manifest), framing, wishes.threshold);
      break;
    case Task::kSegmentation: {
      const LabelMap map = label_map(found.outputs[0], manifest);
      found.regions = regions_of(map, manifest);
      found.labels = framing.to_photo(map.labels, map.size);
      break;
    }
  }
  return found;
}

Image network_pixels(const Image& photo, const std::string& path, const Preprocess& contract) {
  try {
    return to_pixels(photo, contract);
  } catch (const Failure& failure) {
    throw Failure(failure.code(), path + ": " + failure.what());
  }
}

Image drawn(const Prediction& prediction, Task task) {
  Image picture = prediction.photo;
  if (task == Task::kDetection) draw_objects(picture, prediction.objects);
  if (task == Task::kSegmentation) draw_regions(picture, prediction.labels);
  return picture;
}

}  // namespace mnv2
