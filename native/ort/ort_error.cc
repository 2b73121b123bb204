#include "ort_error.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <new>
#include <utility>

namespace batched {
namespace {

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// Where the word "b.cc:123" or "/a/b.cc:123" that begins at `begin` ends, or npos if it is something else.
std::size_t end_of_place(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  while (end < text.size() && !is_space(text[end])) ++end;
  const std::string_view word = text.substr(begin, end - begin);
  const std::size_t colon = word.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == word.size()) return std::string_view::npos;
  for (const char c : word.substr(colon + 1)) {
    if (!is_digit(c)) return std::string_view::npos;
  }
  const std::string_view file = word.substr(0, colon);
  for (const std::string_view extension : {".cc", ".h", ".cpp", ".hpp", ".cu", ".cuh"}) {
    if (file.ends_with(extension)) return end;
  }
  return std::string_view::npos;
}

// Where the function signature that begins at `begin` ends, or `begin` if there is none. They look like
// "onnxruntime::Type::method(const A&, B) const ".
std::size_t end_of_function(std::string_view text, std::size_t begin) {
  const std::size_t open = text.find('(', begin);
  if (open == std::string_view::npos) return begin;
  const std::string_view before = text.substr(begin, open - begin);
  if (before.empty() || before.find_first_of(".,'\"\n") != std::string_view::npos) return begin;
  int depth = 0;
  std::size_t end = open;
  for (; end < text.size(); ++end) {
    if (text[end] == '(') ++depth;
    if (text[end] == ')' && --depth == 0) break;
  }
  if (end == text.size()) return begin;
  ++end;
  if (text.substr(end).starts_with(" const")) end += 6;
  if (text.substr(end).starts_with(" [with ")) {
    const std::size_t close = text.find(']', end);
    if (close != std::string_view::npos) end = close + 1;
  }
  return end;
}

// What the CUDA provider makes of a failed call: twice its own signature, then
// "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=f ; line=1 ; expr=cudaMalloc(&p, n); ". Leaves
// "CUDA failure 2: out of memory (GPU 0, cudaMalloc(&p, n))".
std::string without_cuda_places(std::string text) {
  constexpr std::string_view kCall = "onnxruntime::CudaCall(";
  for (std::size_t call = text.find(kCall); call != std::string::npos; call = text.find(kCall)) {
    std::size_t begin = call;
    for (const std::string_view type :
         {"bool ", "std::conditional_t<THRW, void, onnxruntime::common::Status> ",
          "std::conditional_t<THRW, void, common::Status> "}) {
      if (std::string_view(text).substr(0, call).ends_with(type)) begin = call - type.size();
    }
    const std::size_t end = text.find(']', call);
    if (end == std::string::npos) break;
    const bool spaced = end + 1 < text.size() && is_space(text[end + 1]);
    text.erase(begin, end + (spaced ? 2 : 1) - begin);
  }
  constexpr std::string_view kGpu = " ; GPU=";
  constexpr std::string_view kExpression = " ; expr=";
  const std::size_t gpu = text.find(kGpu);
  const std::size_t expression = text.find(kExpression, gpu);
  if (gpu == std::string::npos || expression == std::string::npos) return text;
  const std::size_t number = gpu + kGpu.size();
  std::string call = text.substr(expression + kExpression.size());
  while (!call.empty() && (is_space(call.back()) || call.back() == ';')) call.pop_back();
  return text.substr(0, gpu) + " (GPU " + text.substr(number, text.find(' ', number) - number) + ", " + call +
         ")";
}

bool has_any(std::string_view message, std::initializer_list<std::string_view> signs) {
  return std::ranges::any_of(
      signs, [&](std::string_view sign) { return message.find(sign) != std::string_view::npos; });
}

bool lacks_memory(std::string_view message) {
  return has_any(message,
                 {"Failed to allocate memory", "bad_alloc", "out of memory", "Available memory of",
                  "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
                  "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"});
}

}  // namespace

std::string clean_ort_message(std::string_view message) {
  // We have named the model already.
  constexpr std::string_view kFailed = " failed:";
  if (const std::size_t at = message.find(kFailed);
      message.starts_with("Load model from ") && at != std::string_view::npos) {
    message.remove_prefix(at + kFailed.size());
  }
  std::string clean;
  for (std::size_t i = 0; i < message.size();) {
    // A place comes after a space, or as in "failed:/a/b.cc:123".
    const bool may = i == 0 || is_space(message[i - 1]) || message[i] == '/';
    const std::size_t end = may ? end_of_place(message, i) : std::string_view::npos;
    if (end != std::string_view::npos) {
      i = end;
      while (i < message.size() && is_space(message[i])) ++i;
      i = end_of_function(message, i);
      if (i < message.size() && is_space(message[i]) && !clean.empty() && is_space(clean.back())) ++i;
      continue;
    }
    const char c = is_space(message[i]) ? ' ' : message[i];
    if (c != ' ' || (!clean.empty() && clean.back() != ' ')) clean += c;
    ++i;
  }
  while (!clean.empty() && clean.back() == ' ') clean.pop_back();
  return without_cuda_places(std::move(clean));
}

bool is_from_cuda(std::string_view message) {
  return has_any(message, {"CUDA failure", "CUBLAS failure", "CUDNN failure", "CURAND failure",
                           "CUFFT failure", "CUDA error", "CUDA Execution Provider"});
}

Status to_status(const std::exception& error, Code otherwise, std::string_view doing) {
  const std::string message = clean_ort_message(error.what());
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr || lacks_memory(message);
  return {memory ? Code::kOutOfMemory : otherwise, std::string(doing) + ": " + message};
}

}  // namespace batched
