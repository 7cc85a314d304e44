#pragma once

#include <string>
#include <vector>

#include "benchmark.h"
#include "model.h"
#include "predict.h"
#include "self_test.h"

namespace mnv2 {

/// A prediction with the names that people know it by.
struct Shown {
  std::string image;
  std::string picture;  // empty: none was drawn
  Prediction prediction;
};

// Each writes to standard output, as text for people or as one JSON document.
void print_predictions(const std::vector<Shown>& all, const Manifest& manifest, bool json);
void print_self_test(const SelfTestResult& result, const Model& model, bool json);
void print_latency(const Latency& latency, const Model& model, bool json);

}  // namespace mnv2
