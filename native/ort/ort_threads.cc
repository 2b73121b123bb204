#include "ort_threads.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "engine/thread.h"

namespace batched {
namespace {

constexpr int kMostLanes = 16;
// Beyond this many threads a single small batch gains nothing.
constexpr int kMostWideThreads = 8;
// A second session holds the weights a second time, so large models do without.
constexpr std::uint64_t kLargeModel = std::uint64_t{1} << 30;

#if defined(__linux__)

// Cores that a control group's quota is worth, or infinity. v2 has "max 100000" in cpu.max, v1 two
// files of one number each (-1: no quota).
double quota_of(const std::filesystem::path& group) {
  double quota = -1;
  double period = 0;
  std::string first;
  if (std::ifstream file(group / "cpu.max"); file >> first >> period) {
    if (first != "max") quota = std::strtod(first.c_str(), nullptr);
  } else {
    std::ifstream(group / "cpu.cfs_quota_us") >> quota;
    std::ifstream(group / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : HUGE_VAL;
}

// The least quota of a control group and those it lies in.
double least_quota(const std::filesystem::path& mount, const std::string& group) {
  double least = quota_of(mount);
  std::filesystem::path path = mount;
  for (const auto& part : std::filesystem::path(group).relative_path()) {
    path /= part;
    least = std::min(least, quota_of(path));
  }
  return least;
}

double control_group_quota() {
  double least = HUGE_VAL;
  std::ifstream groups("/proc/self/cgroup");
  // Lines of "number:controllers:/path"; v2 is number 0 without controllers.
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string group = line.substr(second + 1);
    if (second == first + 1) least = std::min(least, least_quota("/sys/fs/cgroup", group));
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    for (std::string controller; std::getline(controllers, controller, ',');) {
      if (controller == "cpu") least = std::min(least, least_quota("/sys/fs/cgroup/cpu", group));
    }
  }
  return least;
}

#endif

OrtCustomThreadHandle start_thread(void* /*options*/, OrtThreadWorkerFn work, void* param) {
  static std::atomic<unsigned> count{0};
  try {
    const unsigned number = count.fetch_add(1, std::memory_order_relaxed);
    auto thread = std::make_unique<std::thread>([work, param, number] {
      name_this_thread("batched-ort-" + std::to_string(number));
      yield_to_javascript();
      work(param);
    });
    return reinterpret_cast<OrtCustomThreadHandle>(thread.release());
  } catch (...) {
    return nullptr;  // ONNX Runtime turns this into an error of session creation
  }
}

void join_thread(OrtCustomThreadHandle handle) {
  const std::unique_ptr<std::thread> thread(
      const_cast<std::thread*>(reinterpret_cast<const std::thread*>(handle)));
  thread->join();
}

}  // namespace

int usable_cores() {
  int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = std::max(1, CPU_COUNT(&mask));
  const double quota = control_group_quota();
  if (quota < cores) cores = std::max(1, static_cast<int>(std::ceil(quota)));
#endif
  return cores;
}

ThreadPlan plan_threads(int cores, std::size_t lanes, int threads, std::uint64_t model_bytes) {
  ThreadPlan plan;
  if (threads > 0) {
    plan.narrow_threads = threads;
    plan.one_each = threads > 1;
    plan.lanes = lanes > 0 ? lanes : static_cast<std::size_t>(std::clamp(cores / threads, 1, kMostLanes));
    return plan;
  }
  plan.lanes = lanes > 0 ? lanes : static_cast<std::size_t>(std::clamp(cores, 1, kMostLanes));
  const int wide = std::min(cores, kMostWideThreads);
  if (cores <= 1) return plan;
  if (plan.lanes == 1) {
    plan.narrow_threads = wide;  // it always runs alone
  } else if (model_bytes <= kLargeModel) {
    plan.wide_threads = wide;
  }
  return plan;
}

void use_own_threads(Ort::SessionOptions& options) {
  options.SetCustomCreateThreadFn(start_thread);
  options.SetCustomJoinThreadFn(join_thread);
}

}  // namespace batched
