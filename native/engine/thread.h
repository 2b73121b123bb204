// Naming and ranking the calling thread.
#pragma once

#include <string>

namespace batched {

// Names the calling thread for debuggers and profilers; cut to 15 characters.
void name_this_thread(const std::string& name);

// Lets the JavaScript thread win where both want a core. Threads started from here on inherit it.
void yield_to_javascript();

}  // namespace batched
