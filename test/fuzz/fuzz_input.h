// What the fuzz targets share: numbers drawn from the fuzzer's bytes, and a check that ends the process.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/tensor.h"

// Holds in every build, unlike assert().
#define FUZZ_CHECK(condition)                                                            \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

namespace batched {

class FuzzInput {
 public:
  FuzzInput(const std::uint8_t* data, std::size_t size) : bytes_(data, size) {}

  template <typename T>
  T between(T low, T high) {
    return bytes_.ConsumeIntegralInRange<T>(low, high);
  }
  bool flag() { return bytes_.ConsumeBool(); }
  std::string text(std::size_t longest) { return bytes_.ConsumeRandomLengthString(longest); }
  double number() { return bytes_.ConsumeFloatingPoint<double>(); }
  DType dtype() { return static_cast<DType>(between(0, static_cast<int>(DType::kBool))); }

  // As many bytes, zeros once the input is used up.
  std::vector<std::byte> bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    if (count > 0) bytes_.ConsumeData(bytes.data(), count);
    return bytes;
  }

 private:
  FuzzedDataProvider bytes_;
};

}  // namespace batched
