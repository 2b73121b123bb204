#include "open_session.h"

#include <stdexcept>
#include <string>

#include "ort_library.h"
#include "pooling.h"

namespace batched {

Ort::Session open_session(const ModelOptions& model, const Ort::SessionOptions& options) {
  const Ort::Env& env = *ort_env();
  const bool in_file = !model.path.empty();
  if (model.pooling.kind == Pooling::Kind::kNone) {
    if (in_file) return {env, model.path.c_str(), options};
    return {env, model.bytes.data(), model.bytes.size(), options};
  }
  // Not only a matter of the error: the table of an older library ends before the editor's entry.
  constexpr int kSince = 22;
  if (ort_library()->api < kSince) {
    throw std::invalid_argument("pooling needs ONNX Runtime 1." + std::to_string(kSince) +
                                " or newer; this is " + ort_library()->version + " (" + ort_library()->path +
                                ")");
  }
  Ort::Session session =
      in_file ? Ort::Session::CreateModelEditorSession(env, model.path.c_str(), options)
              : Ort::Session::CreateModelEditorSession(env, model.bytes.data(), model.bytes.size(), options);
  session.FinalizeModelEditorSession(pooling_of(session, model.pooling), options);
  return session;
}

}  // namespace batched
