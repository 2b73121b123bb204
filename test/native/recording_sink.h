// A sink that keeps what it is given and lets a test wait for it.
#pragma once

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/call.h"
#include "hang_deadline.h"

namespace batched {

struct RecordedPart {
  std::vector<std::int64_t> dims;
  std::vector<float> numbers;  // the outputs of the tests' models are float32
};

struct RecordedResult {
  Code code = Code::kOk;
  std::string message;
  std::vector<RecordedPart> parts;
};

class RecordingSink final : public CompletionSink {
 public:
  void deliver(Delivery delivery) noexcept override {
    const std::lock_guard lock(mutex_);
    ++deliveries_;
    for (CallResult& from : delivery.results) {
      RecordedResult result;
      result.code = from.code;
      result.message = std::move(from.message);
      for (std::size_t p = from.first_part; p < from.first_part + from.part_count; ++p) {
        const OutputPart& part = delivery.parts[p];
        RecordedPart copy;
        copy.dims.assign(part.dims.span().begin(), part.dims.span().end());
        copy.numbers.resize(part.dims.elements());
        const std::size_t bytes = copy.numbers.size() * sizeof(float);
        within_bounds_ = within_bounds_ && part.offset % 8 == 0 && part.offset + bytes <= delivery.bytes;
        if (bytes > 0) std::memcpy(copy.numbers.data(), delivery.data.get() + part.offset, bytes);
        result.parts.push_back(std::move(copy));
      }
      ++times_[from.id];
      ++count_;
      order_.push_back(from.id);
      results_[from.id] = std::move(result);
    }
    changed_.notify_all();
  }

  // Blocks until `count` results have come since the beginning.
  void await(std::size_t count) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHangDeadline, [&] { return count_ >= count; })) {
      fail_hang(std::to_string(count_) + " of " + std::to_string(count) + " results were delivered");
    }
  }

  std::size_t count() const { return read(&RecordingSink::count_); }
  std::size_t deliveries() const { return read(&RecordingSink::deliveries_); }
  bool within_bounds() const { return read(&RecordingSink::within_bounds_); }
  std::vector<std::uint64_t> order() const { return read(&RecordingSink::order_); }
  std::map<std::uint64_t, RecordedResult> results() const { return read(&RecordingSink::results_); }
  RecordedResult result(std::uint64_t id) const {
    const std::lock_guard lock(mutex_);
    return results_.at(id);
  }
  Code code(std::uint64_t id) const { return result(id).code; }

  // Ids that were delivered more than once.
  std::vector<std::uint64_t> repeated() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::uint64_t> ids;
    for (const auto& [id, times] : times_) {
      if (times > 1) ids.push_back(id);
    }
    return ids;
  }

 private:
  template <typename T>
  T read(T RecordingSink::* member) const {
    const std::lock_guard lock(mutex_);
    return this->*member;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, RecordedResult> results_;
  std::map<std::uint64_t, int> times_;
  std::vector<std::uint64_t> order_;
  std::size_t count_ = 0;
  std::size_t deliveries_ = 0;
  bool within_bounds_ = true;
};

}  // namespace batched
