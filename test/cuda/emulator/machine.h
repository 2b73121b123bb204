// What the emulated GPUs have in common: settings, faults, the log. Private to device.h's own sources. None
// of it is ever destroyed: threads may outlive static objects.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "device.h"

namespace emulator {

// Guards the machine and its memory.
std::mutex& mutex();

struct Fault {
  std::string name;
  std::uint64_t nth;
  bool again;  // every nth, not only the first
  Error code;
  std::uint64_t seen = 0;
};

class Log {
 public:
  Log();
  void add(const char* name);
  void write(std::size_t held) const;

 private:
  const char* const path_;
  std::string lines_;
};

struct Machine {
  Machine();

  const int devices;
  const std::size_t memory;
  const std::uint64_t jitter;
  const bool idle;
  std::vector<Fault> faults;
  Log log;
  std::map<int, Error> lost;  // by device: what every call fails with since one has failed in that way
  std::set<std::shared_ptr<StreamState>> streams;

  // The error that this call or work is to end with. Holding the mutex.
  Error fault_of(std::string_view name);
};

Machine& machine();

// On a stream's own threads, whose calls are callbacks.
extern thread_local bool in_stream;

// Waits for all work of the calling thread's device, as a free of memory does, whatever is captured
// meanwhile.
Error finish_device();
// Bytes of all devices' memory that are allocated. Holding the mutex.
std::size_t held_memory();

}  // namespace emulator
