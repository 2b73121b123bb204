// Kernels of ONNX Runtime's CUDA provider that encoders are made of: layer norms, bias and Gelu, unfused
// attention. B, S, N and H are batch, sequence, heads and size of a head.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels.h"

namespace emulator {
namespace {

constexpr double kRootHalf = 0.70710678118654752440;

// Of `width` values: (x - mean) / deviation * gamma + beta.
void normalize(const std::vector<double>& values, double epsilon, const void* gamma, const void* beta,
               void* to, std::int64_t offset, Type type) {
  const auto width = static_cast<double>(values.size());
  double mean = 0;
  for (const double value : values) mean += value / width;
  double variance = 0;
  for (const double value : values) variance += (value - mean) * (value - mean) / width;
  const double scale = 1 / std::sqrt(variance + epsilon);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const double by = gamma == nullptr ? 1 : read(bytes_at(gamma), index, type);
    const double plus = beta == nullptr ? 0 : read(bytes_at(beta), index, type);
    write(bytes_at(to), offset + index, type, (values[i] - mean) * scale * by + plus);
  }
}

Type first_type(const Launch& launch, std::string_view kernel) {
  return type_in(launch.name.substr(launch.name.find(kernel) + kernel.size()), 0);
}

// (out, sum or null, in, skip, bias or null, gamma, beta or null, epsilon, width, elements of skip), a block
// for each row
Work skip_layer_norm(const Launch& launch) {
  const Type type = first_type(launch, "SkipLayerNormKernelSmall");
  if (!launch.has("ELb0E")) return nullptr;  // simplified
  return [=, to = launch.pointer(0), sum = launch.pointer(1), from = launch.pointer(2),
          skip = launch.pointer(3), bias = launch.pointer(4), gamma = launch.pointer(5),
          beta = launch.pointer(6), epsilon = launch.get<float>(7), width = launch.get<int>(8),
          skipped = launch.get<int>(9), rows = launch.grid.x] {
    std::vector<double> values(static_cast<std::size_t>(width));
    for (std::int64_t row = 0; row < rows; ++row) {
      for (int i = 0; i < width; ++i) {
        const std::int64_t index = row * width + i;
        double value = read(bytes_at(from), index, type) + read(bytes_at(skip), index % skipped, type);
        if (bias != nullptr) value += read(bytes_at(bias), i, type);
        if (sum != nullptr) write(bytes_at(sum), index, type, value);
        values[static_cast<std::size_t>(i)] = value;
      }
      normalize(values, epsilon, gamma, beta, to, row * width, type);
    }
  };
}

// (out, means, deviations, in, rows, width, epsilon, gamma, beta, how those are broadcast, skip, bias, sum)
Work layer_norm(const Launch& launch) {
  const Type type = first_type(launch, "cuApplyLayerNorm");
  const bool plain =
      launch.get<int>(9) == 0 && launch.pointer(10) == nullptr && launch.pointer(11) == nullptr;
  if (!launch.has("Lb0E") || !plain) return nullptr;
  return [=, to = launch.pointer(0), from = launch.pointer(3), rows = launch.get<int>(4),
          width = launch.get<int>(5), epsilon = launch.get<float>(6), gamma = launch.pointer(7),
          beta = launch.pointer(8)] {
    std::vector<double> values(static_cast<std::size_t>(width));
    for (std::int64_t row = 0; row < rows; ++row) {
      for (int i = 0; i < width; ++i) {
        values[static_cast<std::size_t>(i)] = read(bytes_at(from), row * width + i, type);
      }
      normalize(values, epsilon, gamma, beta, to, row * width, type);
    }
  };
}

// (width, in, bias, out), a block for each row
Work bias_gelu(const Launch& launch) {
  const Type type = first_type(launch, "VectorizedBiasGeluKernel");
  return [=, width = launch.get<std::int64_t>(0), from = launch.pointer(1), bias = launch.pointer(2),
          to = launch.pointer(3), rows = launch.grid.x] {
    for (std::int64_t i = 0; i < rows * width; ++i) {
      const double x = read(bytes_at(from), i, type) + read(bytes_at(bias), i % width, type);
      write(bytes_at(to), i, type, x * 0.5 * (1 + std::erf(x * kRootHalf)));
    }
  };
}

// (matrices, in [B, S, M, N, H], bias [M, N, H] or null, out [M, B, N, S, H], in + bias or null), of elements
// of four values
Work add_bias_and_transpose(const Launch& launch) {
  const Type type = launch.has("float4") ? Type::kFloat : launch.has("Half4") ? Type::kHalf : Type::kNone;
  if (type == Type::kNone) return nullptr;
  return [=, matrices = launch.get<int>(0), from = launch.pointer(1), bias = launch.pointer(2),
          to = launch.pointer(3), added = launch.pointer(4), S = launch.grid.x, B = launch.grid.y,
          M = launch.grid.z, H = launch.block.x * 4, N = launch.block.y] {
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t s = 0; s < S; ++s) {
        for (std::int64_t m = 0; m < M; ++m) {
          for (std::int64_t nh = 0; nh < N * H; ++nh) {
            const std::int64_t source = ((b * S + s) * matrices + m) * N * H + nh;
            double value = read(bytes_at(from), source, type);
            if (bias != nullptr) value += read(bytes_at(bias), m * N * H + nh, type);
            const std::int64_t target = (((m * B + b) * N + nh / H) * S + s) * H + nh % H;
            write(bytes_at(to), target, type, value);
            if (added != nullptr) write(bytes_at(added), source, type, value);
          }
        }
      }
    }
  };
}

// (H, whether B and S change places, in [B, N, S, H], out [B, S, N, H]), of elements of eight bytes
Work transpose_back(const Launch& launch) {
  if (!launch.has("float2") || launch.get<bool>(1)) return nullptr;
  return [H = launch.get<int>(0), from = launch.pointer(2), to = launch.pointer(3), S = launch.grid.x,
          B = launch.grid.y, N = launch.block.y] {
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t n = 0; n < N; ++n) {
        for (std::int64_t s = 0; s < S; ++s) {
          std::memcpy(at<double>(to) + ((b * S + s) * N + n) * H,
                      at<double>(from) + ((b * N + n) * S + s) * H, static_cast<std::size_t>(H) * 8);
        }
      }
    }
  };
}

// (keys, queries, mask, mask of keys, bias, its two broadcasts, in, out [B, N, S, keys], causal, scale, the
// mask's rank, longest, without softmax, what a masked score gets added); blocks are rows of queries along x
// and B along y
Work masked_softmax(const Launch& launch) {
  const Type type = first_type(launch, "SoftmaxWithRawMaskSmallKernel");
  const bool plain = launch.pointer(3) == nullptr && launch.pointer(4) == nullptr && !launch.get<bool>(9) &&
                     launch.get<int>(11) == 2 && !launch.get<bool>(13);
  if (!plain) return nullptr;
  return [=, keys = launch.get<int>(0), mask = launch.pointer(2), from = launch.pointer(7),
          to = launch.pointer(8), scale = launch.get<float>(10), penalty = launch.get<float>(14),
          rows = launch.grid.x, B = launch.grid.y] {
    std::vector<double> scores(static_cast<std::size_t>(keys));
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t offset = (b * rows + row) * keys;
        double most = -std::numeric_limits<double>::infinity();
        for (int k = 0; k < keys; ++k) {
          double score = read(bytes_at(from), offset + k, type) * scale;
          if (at<std::int32_t>(mask)[b * keys + k] == 0) score += penalty;
          scores[static_cast<std::size_t>(k)] = score;
          most = std::max(most, score);
        }
        double sum = 0;
        for (double& score : scores) sum += score = std::exp(score - most);
        for (int k = 0; k < keys; ++k) {
          write(bytes_at(to), offset + k, type, scores[static_cast<std::size_t>(k)] / sum);
        }
      }
    }
  };
}

}  // namespace

Work transformer_kernel(const Launch& launch) {
  if (launch.has("SkipLayerNormKernelSmall")) return skip_layer_norm(launch);
  if (launch.has("cuApplyLayerNorm")) return layer_norm(launch);
  if (launch.has("VectorizedBiasGeluKernel")) return bias_gelu(launch);
  if (launch.has("19AddBiasTransposeQKVI")) return add_bias_and_transpose(launch);
  if (launch.has("12TransposeCtxI")) return transpose_back(launch);
  if (launch.has("SoftmaxWithRawMaskSmallKernel")) return masked_softmax(launch);
  return nullptr;
}

}  // namespace emulator
