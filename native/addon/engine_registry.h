// Engines that JavaScript threads share, and by what id they find them. One table for the process: every
// environment that loads the add-on has the same.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "engine/thread_annotations.h"

namespace batched {

// What is said of an engine's model in its stats.
struct ModelFacts {
  std::string name;  // its file's, or "model"
  std::string provider;
  std::string provider_note;  // why it is not another one; may be empty
  std::size_t lane_threads = 1;
  std::size_t wide_threads = 0;
};

// An engine with users. Each holds this until it closes or is gone; with the last one the engine closes, and
// what was admitted still runs.
struct OpenEngine {
  OpenEngine(std::shared_ptr<Engine> made, ModelFacts of) : engine(std::move(made)), facts(std::move(of)) {}
  ~OpenEngine() { engine->close(/*drain=*/true, nullptr); }
  OpenEngine(const OpenEngine&) = delete;
  OpenEngine& operator=(const OpenEngine&) = delete;

  const std::shared_ptr<Engine> engine;
  const ModelFacts facts;
};

// Any thread. Holds nothing: an id leads to an engine while that has users.
class EngineRegistry {
 public:
  // Never destroyed: threads may ask for it while the process ends.
  static EngineRegistry& of_process();

  // The engine's id: `fresh`, unless it has one already.
  std::string share(const std::shared_ptr<OpenEngine>& engine, std::string fresh);

  // Null if there is none, or none with users.
  std::shared_ptr<OpenEngine> find(const std::string& id);

 private:
  Mutex mutex_;
  std::map<std::string, std::weak_ptr<OpenEngine>> engines_ BATCHED_GUARDED_BY(mutex_);
};

}  // namespace batched
