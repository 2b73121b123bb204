#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "machine.h"

namespace emulator {
namespace {

constexpr std::size_t kSpace = std::size_t{1} << 36;  // as much as TSan leaves
constexpr std::size_t kPage = 4096;

struct Block {
  std::size_t bytes;
  int device;
};

// Device addresses are the first half of a range; the bytes lie in the second half. The first half is never
// mapped. Addresses are not used again.
class Memory {
 public:
  Memory() {
    void* const range =
        mmap(nullptr, 2 * kSpace, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) {
      std::perror("the emulated GPU has no memory");
      std::abort();
    }
    begin_ = static_cast<std::byte*>(range);
  }

  void* allocate(std::size_t bytes, int device) {
    const std::size_t size = (std::max<std::size_t>(bytes, 1) + kPage - 1) / kPage * kPage;
    if (used_[device] + size > machine().memory) return nullptr;
    std::byte* const address = begin_ + next_;
    if (mprotect(address + kSpace, size, PROT_READ | PROT_WRITE) != 0) return nullptr;
    std::memset(address + kSpace, 0xcd, size);  // never zero by luck
    next_ += size + kPage;                      // with a gap behind it
    used_[device] += size;
    blocks_[address] = {size, device};
    return address;
  }

  bool release(void* memory) {
    const auto found = blocks_.find(static_cast<std::byte*>(memory));
    if (found == blocks_.end()) return false;
    used_[found->second.device] -= found->second.bytes;
    madvise(found->first + kSpace, found->second.bytes, MADV_DONTNEED);
    mprotect(found->first + kSpace, found->second.bytes, PROT_NONE);
    blocks_.erase(found);
    return true;
  }

  bool owns(const void* address) const { return address >= begin_ && address < begin_ + kSpace; }
  std::size_t used(int device) { return used_[device]; }

  std::map<void*, std::size_t> pinned;

  bool is_pinned(const void* address) const {
    auto next = pinned.upper_bound(const_cast<void*>(address));
    if (next == pinned.begin()) return false;
    --next;
    return static_cast<const std::byte*>(address) < static_cast<const std::byte*>(next->first) + next->second;
  }

 private:
  std::byte* begin_ = nullptr;
  std::size_t next_ = kPage;
  std::map<std::byte*, Block> blocks_;
  std::unordered_map<int, std::size_t> used_;
};

Memory& memory_of_all() {
  static auto* const one = new Memory;
  return *one;
}

}  // namespace

std::size_t held_memory() {
  std::size_t held = 0;
  for (int device = 0; device < machine().devices; ++device) held += memory_of_all().used(device);
  return held;
}

Error allocate(std::size_t bytes, void** memory) {
  const std::lock_guard lock(mutex());
  *memory = memory_of_all().allocate(bytes, current_device());
  return *memory == nullptr ? kOutOfMemory : kSuccess;
}

Error release(void* memory) {
  if (memory == nullptr) return kSuccess;
  if (const Error error = finish_device(); error != kSuccess) return error;
  const std::lock_guard lock(mutex());
  return memory_of_all().release(memory) ? kSuccess : kInvalidValue;
}

Error memory(std::size_t* free, std::size_t* total) {
  const std::lock_guard lock(mutex());
  *total = machine().memory;
  *free = *total - memory_of_all().used(current_device());
  return kSuccess;
}

Error allocate_host(std::size_t bytes, void** memory) {
  *memory = std::aligned_alloc(kPage, (bytes + kPage) / kPage * kPage);
  if (*memory == nullptr) return kOutOfMemory;
  const std::lock_guard lock(mutex());
  memory_of_all().pinned[*memory] = bytes;
  return kSuccess;
}

Error release_host(void* memory) {
  if (memory == nullptr) return kSuccess;
  if (const Error error = finish_device(); error != kSuccess) return error;
  {
    const std::lock_guard lock(mutex());
    if (memory_of_all().pinned.erase(memory) == 0) return kInvalidValue;
  }
  std::free(memory);
  return kSuccess;
}

bool on_device(const void* address) { return memory_of_all().owns(address); }

std::byte* bytes_at(const void* address) {
  auto* const bytes = const_cast<std::byte*>(static_cast<const std::byte*>(address));
  return memory_of_all().owns(address) ? bytes + kSpace : bytes;
}

Error copy(void* to, const void* from, std::size_t bytes, Stream& stream, bool wait) {
  bool pageable_source = false;
  bool pageable_target = false;
  {
    const std::lock_guard lock(mutex());
    const Memory& all = memory_of_all();
    pageable_source = !all.owns(from) && !all.is_pinned(from);
    pageable_target = !all.owns(to) && !all.is_pinned(to);
  }
  Work work;
  // A graph reads the host's memory at every launch, whatever is there then.
  if (pageable_source && !stream.capturing()) {
    std::vector<std::byte> kept(static_cast<const std::byte*>(from),
                                static_cast<const std::byte*>(from) + bytes);
    work = [to, kept = std::move(kept)] { std::memcpy(bytes_at(to), kept.data(), kept.size()); };
  } else {
    work = [to, from, bytes] { std::memmove(bytes_at(to), bytes_at(from), bytes); };
  }
  const Error error = stream.enqueue({"copy", std::move(work), from});
  if (error != kSuccess || (!wait && !pageable_target)) return error;
  return stream.synchronize();
}

}  // namespace emulator
