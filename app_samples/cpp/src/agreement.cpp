#include "agreement.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace mnv2 {
namespace {

constexpr float kSameIou = 0.9F, kSameScore = 0.02F;  // of two detections that count as one
constexpr std::size_t kColumns = 6, kScore = 4, kClass = 5;

using Row = std::array<float, kColumns>;

std::vector<Row> detections(const std::vector<float>& values) {
  std::vector<Row> rows;
  for (std::size_t at = 0; at + kColumns <= values.size(); at += kColumns) {
    Row row{};
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(at), kColumns, row.begin());
    if (row[kScore] >= 0.0F) rows.push_back(row);
  }
  return rows;
}

float area(const Row& box) {
  return std::max(box[2] - box[0], 0.0F) * std::max(box[3] - box[1], 0.0F);
}

float iou(const Row& a, const Row& b) {
  if (std::equal(a.begin(), a.begin() + 4, b.begin())) return 1.0F;  // even without area
  const float width = std::max(std::min(a[2], b[2]) - std::max(a[0], b[0]), 0.0F);
  const float height = std::max(std::min(a[3], b[3]) - std::max(a[1], b[1]), 0.0F);
  const float inner = width * height;
  return inner / std::max(area(a) + area(b) - inner, std::numeric_limits<float>::min());
}

}  // namespace

void Sqnr::add(const std::vector<float>& expected, const std::vector<float>& actual) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(actual[i]) - static_cast<double>(expected[i]);
    signal_ += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    noise_ += difference * difference;
  }
}

double Sqnr::db() const {
  return noise_ == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal_ / noise_);
}

void Shared::add(const Shared& other) {
  all += other.all;
  equal += other.equal;
}

Shared shared_labels(const std::vector<float>& a, const std::vector<float>& b) {
  Shared found{a.size(), 0};
  for (std::size_t i = 0; i < a.size(); ++i) found.equal += a[i] == b[i];
  return found;
}

Shared shared_detections(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<Row> ours = detections(a), theirs = detections(b);
  Shared found{ours.size() + theirs.size(), 0};
  for (const Row& row : ours) {
    auto best = theirs.end();
    float most = 0.0F;
    for (auto other = theirs.begin(); other != theirs.end(); ++other) {
      const bool alike = (*other)[kClass] == row[kClass] &&
                         std::fabs((*other)[kScore] - row[kScore]) < kSameScore;
      const float overlap = alike ? iou(row, *other) : 0.0F;
      if (overlap > most) most = overlap, best = other;
    }
    if (most < kSameIou) continue;
    theirs.erase(best);
    found.equal += 2;
  }
  return found;
}

}  // namespace mnv2
