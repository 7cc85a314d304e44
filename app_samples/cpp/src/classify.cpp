#include "classify.h"

#include <algorithm>
#include <cmath>

namespace mnv2 {
namespace {

void softmax(std::vector<ClassScore>& scores) {
  const auto less = [](const ClassScore& a, const ClassScore& b) {
    return a.probability < b.probability;
  };
  const double most = std::max_element(scores.begin(), scores.end(), less)->probability;
  double total = 0;
  for (ClassScore& score : scores) total += score.probability = std::exp(score.probability - most);
  for (ClassScore& score : scores) score.probability /= total;
}

}  // namespace

std::vector<ClassScore> classify(const Tensor& output, const Manifest& manifest, std::size_t top) {
  std::vector<ClassScore> scores;
  for (const float value : output.floats()) scores.push_back({scores.size(), value});
  if (!manifest.probabilities) softmax(scores);
  std::stable_sort(scores.begin(), scores.end(), [](const ClassScore& a, const ClassScore& b) {
    return a.probability > b.probability;
  });
  scores.resize(std::min(top, scores.size()));
  return scores;
}

}  // namespace mnv2
