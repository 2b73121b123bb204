// How long a test waits for something that must happen before it says that it hangs. Nothing is
// measured against it: a test that passes never waits this long.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace batched {

inline constexpr std::chrono::seconds kHangDeadline{60};

// A hung engine cannot be torn down either, so the whole program ends, with a message.
[[noreturn]] inline void fail_hang(const std::string& what) {
  std::fprintf(stderr, "HANG: %s\n", what.c_str());
  std::abort();
}

}  // namespace batched
