#include "thread.h"

#include <pthread.h>

#include <cstdint>

#if defined(__linux__)
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "trace.h"

namespace batched {

void name_this_thread(const std::string& name) {
  const std::string cut = name.substr(0, 15);
#if defined(__APPLE__)
  pthread_setname_np(cut.c_str());
#else
  pthread_setname_np(pthread_self(), cut.c_str());
  trace_thread_name(static_cast<std::uint32_t>(syscall(SYS_gettid)), cut.c_str());
#endif
}

void yield_to_javascript() {
#if defined(__linux__)
  // On Linux a nice value belongs to a thread. A higher one needs no privilege.
  constexpr int kNice = 10;
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  if (getpriority(PRIO_PROCESS, thread) < kNice) setpriority(PRIO_PROCESS, thread, kNice);
#endif
}

}  // namespace batched
