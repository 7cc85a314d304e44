#pragma once

#include <cstddef>
#include <vector>

namespace mnv2 {

/// Signal to noise over many values: equal values have an infinite ratio.
class Sqnr {
 public:
  void add(const std::vector<float>& expected, const std::vector<float>& actual);
  double db() const;

 private:
  double signal_ = 0, noise_ = 0;
};

/// How many decisions there are and how many of them two models share.
struct Shared {
  std::size_t all = 0;
  std::size_t equal = 0;

  void add(const Shared& other);
  double share() const { return all == 0 ? 1.0 : static_cast<double>(equal) / static_cast<double>(all); }
};

Shared shared_labels(const std::vector<float>& a, const std::vector<float>& b);

/// Rows of x1, y1, x2, y2, score, class; a counterpart has the same class, about the same score
/// and nearly the same box. Scores of -1 are no detections.
Shared shared_detections(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace mnv2
