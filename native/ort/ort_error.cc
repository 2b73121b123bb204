#include "ort_error.h"

#include <cctype>
#include <new>

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

bool lacks_memory(std::string_view message) {
  for (const std::string_view sign : {"Failed to allocate memory", "bad_alloc", "out of memory",
                                      "Available memory of", "CUDA_ERROR_OUT_OF_MEMORY"}) {
    if (message.find(sign) != std::string_view::npos) return true;
  }
  return false;
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
  return clean;
}

Status to_status(const std::exception& error, Code otherwise, std::string_view doing) {
  const std::string message = clean_ort_message(error.what());
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr || lacks_memory(message);
  return {memory ? Code::kOutOfMemory : otherwise, std::string(doing) + ": " + message};
}

}  // namespace batched
