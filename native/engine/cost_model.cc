#include "cost_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace batched {
namespace {

constexpr double kDecay = 0.99;     // a memory of about 100 batches
constexpr double kBendRate = 0.1;   // of the moving average of a cell
constexpr double kLeastBend = 0.5;  // a single stall must not poison a cell
constexpr double kMostBend = 2.0;
constexpr std::size_t kLeastSeen = 4;

}  // namespace

// Quarter octaves: the exponent and the two bits after the leading one.
std::size_t CostModel::cell_of(std::uint64_t padded_tokens) {
  const std::uint64_t tokens = std::clamp<std::uint64_t>(padded_tokens, 1, (1ULL << 31) - 1);
  const auto exponent = static_cast<unsigned>(std::bit_width(tokens) - 1);
  const std::uint64_t fraction = exponent >= 2 ? tokens >> (exponent - 2) : tokens << (2 - exponent);
  return 4 * exponent + (fraction & 3);
}

double CostModel::line(std::size_t rows, std::uint64_t padded_tokens) const {
  return fit_[0] * static_cast<double>(padded_tokens) + fit_[1] * static_cast<double>(rows) + fit_[2];
}

double CostModel::predict(std::size_t rows, std::uint64_t padded_tokens) const {
  if (!known_) return 0;
  const double bend = static_cast<double>(bend_[cell_of(padded_tokens)]);
  return line(rows, padded_tokens) * (bend > 0 ? bend : 1.0);
}

void CostModel::observe(std::size_t rows, std::uint64_t padded_tokens, Nanos duration) {
  const Vector x = {static_cast<double>(padded_tokens), static_cast<double>(rows), 1.0};
  const double y = static_cast<double>(std::max<Nanos>(duration, 1));
  const double weight = 1.0 / (y * y);
  for (std::size_t i = 0; i < kTerms; ++i) {
    for (std::size_t j = 0; j < kTerms; ++j) {
      normal_[i][j] = kDecay * normal_[i][j] + weight * x[i] * x[j];
    }
    moment_[i] = kDecay * moment_[i] + weight * x[i] * y;
  }
  smallest_ = seen_ == 0 ? padded_tokens : std::min(smallest_, padded_tokens);
  largest_ = std::max(largest_, padded_tokens);
  ++seen_;
  solve();
  known_ = seen_ >= kLeastSeen && largest_ > smallest_;
  if (!known_) return;
  const double measured = std::clamp(y / std::max(line(rows, padded_tokens), 1.0), kLeastBend, kMostBend);
  float& bend = bend_[cell_of(padded_tokens)];
  bend = bend == 0 ? static_cast<float>(1 + (measured - 1) * 3 * kBendRate)
                   : static_cast<float>(static_cast<double>(bend) * (1 - kBendRate) + measured * kBendRate);
}

// Normal equations by Gauss-Seidel with the coefficients held at or above zero: a token, a row and a
// batch each cost something. Three unknowns, warm started: a few sweeps are enough.
void CostModel::solve() {
  constexpr int kSweeps = 40;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double change = 0;
    for (std::size_t i = 0; i < kTerms; ++i) {
      if (normal_[i][i] <= 0) continue;
      double rest = moment_[i];
      for (std::size_t j = 0; j < kTerms; ++j) {
        if (j != i) rest -= normal_[i][j] * fit_[j];
      }
      const double value = std::max(0.0, rest / normal_[i][i]);
      change += std::abs(value - fit_[i]) / (std::abs(value) + 1e-9);
      fit_[i] = value;
    }
    if (change < 1e-4) break;
  }
}

}  // namespace batched
