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
#include "engine/shape_ladder.h"
#include "engine/status.h"
#include "engine/tensor.h"

namespace batched {

namespace cuda {
struct Driver;
}

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

  std::size_t lanes = 0;     // on CPU 0: as many as the machine has use for; on GPUs for each, 0: one
  int intra_op_threads = 0;  // CPU: threads of one run; 0: chosen, see plan_threads()

  // The GPUs to run on, by CUDA's numbers; none: the CPU. Every lane there has a session of its own.
  std::vector<int> gpus;
  std::uint64_t gpu_mem_limit = 0;  // bytes of a session's arena; 0: no bound
  bool cuda_graphs = false;         // capture small batches of shapes that come again
  // For tests, in the machine's stead: a driver whose memory is the host's. Sessions then compute on the CPU.
  const cuda::Driver* stand_in = nullptr;
};

class OrtModel {
 public:
  // Reads the model and makes its sessions: takes from milliseconds to many seconds. Any thread;
  // load_ort_library() must have succeeded. `*model` is set only on success. kProviderUnavailable: what
  // `gpus` asks for is not there, or a library that it needs.
  static Status load(ModelOptions options, std::unique_ptr<OrtModel>* model);

  ~OrtModel();
  OrtModel(const OrtModel&) = delete;
  OrtModel& operator=(const OrtModel&) = delete;

  const Signature& signature() const;

  // lanes() new lanes, with slots of their own. They share the model's sessions, keep what they need of
  // it and may outlive it. Any thread.
  std::vector<std::unique_ptr<Lane>> make_lanes() const;

  // What batches are filled up to: on a GPU the next rung, on the CPU nothing. Lengths only for a model that
  // takes an attention mask, since others may compute with what is padded.
  ShapeLadder ladder() const;

  // Facts for the statistics.
  std::string provider() const;  // "cpu" or "cuda"
  std::size_t lanes() const;
  int lane_threads() const;  // threads that a run of one lane computes with
  int wide_threads() const;  // the same for a run that has the machine for itself

 private:
  struct State;
  explicit OrtModel(std::shared_ptr<State> state);

  const std::shared_ptr<State> state_;
};

}  // namespace batched
