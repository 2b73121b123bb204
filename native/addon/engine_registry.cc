#include "engine_registry.h"

#include <utility>

namespace batched {
namespace {

// Without locking `known`: the lock could turn out to be the engine's last holder.
bool same(const std::weak_ptr<OpenEngine>& known, const std::shared_ptr<OpenEngine>& engine) {
  return !known.owner_before(engine) && !engine.owner_before(known);
}

}  // namespace

EngineRegistry& EngineRegistry::of_process() {
  static auto* const registry = new EngineRegistry;
  return *registry;
}

std::string EngineRegistry::share(const std::shared_ptr<OpenEngine>& engine, std::string fresh) {
  const MutexLock lock(mutex_);
  std::erase_if(engines_, [](const auto& entry) { return entry.second.expired(); });
  for (const auto& [id, known] : engines_) {
    if (same(known, engine)) return id;
  }
  engines_.emplace(fresh, engine);
  return fresh;
}

std::shared_ptr<OpenEngine> EngineRegistry::find(const std::string& id) {
  const MutexLock lock(mutex_);
  const auto found = engines_.find(id);
  return found == engines_.end() ? nullptr : found->second.lock();
}

}  // namespace batched
