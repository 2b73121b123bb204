// An ONNX model, loaded: its signature and the lanes that run it. No ONNX Runtime type shows here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/lane.h"
#include "engine/status.h"
#include "engine/tensor.h"

namespace batched {

// Hidden states [batch, sequence, hidden] become one vector [batch, hidden], in the session itself. Done by
// open_session().
struct Pooling {
  enum class Kind : std::uint8_t { kNone, kMean, kCls };
  Kind kind = Kind::kNone;
  bool normalize = false;  // vectors of length 1
  std::string states;      // the output with the hidden states; empty: the only one that may be
};

struct ModelOptions {
  // One of the two. A model in memory can't refer to data in other files; one in a file can.
  std::string path;
  std::vector<std::byte> bytes;

  Pooling pooling;
  std::vector<std::string> outputs;          // those to give, in this order; empty: all (as pooled)
  std::map<std::string, int> batch_axis;     // by input or output name; others are worked out
  std::set<std::string> shared;              // inputs with one value for the whole batch
  std::map<std::string, double> pad_values;  // by input name; others are padded with 0

  std::size_t lanes = 0;     // 0: as many as the machine has use for
  int intra_op_threads = 0;  // threads of one run; 0: chosen, see plan_threads()
};

class OrtModel {
 public:
  // Reads the model and makes its sessions: takes from milliseconds to many seconds. Any thread;
  // load_ort_library() must have succeeded. `*model` is set only on success.
  static Status load(ModelOptions options, std::unique_ptr<OrtModel>* model);

  ~OrtModel();
  OrtModel(const OrtModel&) = delete;
  OrtModel& operator=(const OrtModel&) = delete;

  const Signature& signature() const;

  // lanes() new lanes, with slots of their own. They share the model's sessions, keep what they need of
  // it and may outlive it. Any thread.
  std::vector<std::unique_ptr<Lane>> make_lanes() const;

  // Facts for the statistics.
  const std::string& provider() const;  // "cpu"
  std::size_t lanes() const;
  int lane_threads() const;  // threads that a run of one lane computes with
  int wide_threads() const;  // the same for a run that has the machine for itself

 private:
  struct State;
  explicit OrtModel(std::shared_ptr<State> state);

  const std::shared_ptr<State> state_;
};

}  // namespace batched
