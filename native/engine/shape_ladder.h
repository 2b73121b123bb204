// The sizes that batches are filled up to on a lane whose memory and kernels want few different shapes, such
// as a GPU's. Pure.
//
// Four rungs to an octave, so that a batch grows by less than a quarter in rows and in length. Eight tokens
// are the least step in length: tensor cores work on multiples of it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace batched {

struct ShapeLadder {
  bool rows = false;             // fill up with rows
  bool lengths = false;          // fill up with tokens: only for a model that masks what is padded
  std::size_t max_rows = 0;      // the top rung of rows, whatever it is; 0: none
  std::uint64_t max_tokens = 0;  // batches over it are left as they are; 0: no bound

  struct Rung {
    std::size_t rows;
    std::uint32_t length;
  };

  // The rung for a batch of `batch_rows` (at least 1), the longest of `longest` tokens.
  Rung fit(std::size_t batch_rows, std::uint32_t longest) const {
    Rung rung{batch_rows, longest};
    if (lengths) rung.length = up(longest, kLeastLength);
    if (rows) {
      rung.rows = up(batch_rows, std::size_t{1});
      if (max_rows >= batch_rows) rung.rows = std::min(rung.rows, max_rows);
    }
    const bool fits = max_tokens == 0 || std::uint64_t{rung.rows} * rung.length <= max_tokens;
    return fits ? rung : Rung{batch_rows, longest};
  }

 private:
  static constexpr std::uint32_t kLeastLength = 8;

  // `size`, or the next rung above it.
  template <typename T>
  static T up(T size, T least) {
    if (size <= least) return least;
    const T step = std::max<T>(least, std::bit_floor(static_cast<T>(size - 1)) / 4);
    return (size + step - 1) / step * step;
  }
};

}  // namespace batched
