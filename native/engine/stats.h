// What an engine counts. Plain values; the owner brings the lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "batch_policy.h"
#include "histogram.h"
#include "lane.h"
#include "status.h"

namespace batched {

// Every admitted row ends in exactly one of: processed, failed, cancelled, timed_out, closed.
struct Counters {
  std::uint64_t admitted = 0;
  std::uint64_t processed = 0;
  std::uint64_t failed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t closed = 0;
  std::uint64_t rejected = 0;  // rows that were refused at admission
  std::uint64_t isolated = 0;  // rows found to be the one at fault in a batch of several

  std::uint64_t batches = 0;
  std::uint64_t retries = 0;        // extra runs to isolate rows or after running out of memory
  std::uint64_t batch_rows = 0;     // sum over batches
  std::uint64_t useful_tokens = 0;  // sum of the rows' lengths over batches
  std::uint64_t padded_tokens = 0;  // sum of rows * longest over batches

  std::array<std::uint64_t, static_cast<std::size_t>(DispatchReason::kCount)> reasons{};
  std::vector<std::uint64_t> batch_sizes;  // by rows
  Histogram queue_time;                    // of rows: enqueued -> bound to a batch
  Histogram processing_time;               // of batches: start of the run -> outputs readable
  Histogram total_time;                    // of rows: enqueued -> settled

  void count_batch(std::size_t rows, std::uint64_t useful, std::uint64_t padded, DispatchReason reason);
  // `rows` admitted rows ended with `code`.
  void count_settled(Code code, std::uint64_t rows);
  void clear();
};

struct LaneStats {
  std::string name;
  std::uint64_t batches = 0;
  Nanos busy = 0;  // time a batch was running, since the engine began or its stats were cleared
  bool healthy = true;
  std::optional<DeviceUse> device;  // its time since the stats were cleared
};

struct EngineStats {
  std::size_t queue_rows = 0;
  std::uint64_t queue_tokens = 0;
  std::uint64_t held_bytes = 0;
  Counters counters;
  std::vector<LaneStats> lanes;
  Nanos elapsed = 0;  // since the engine began or its stats were cleared
};

}  // namespace batched
