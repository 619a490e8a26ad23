// Libraries opened when first used: the headers give the types, dlopen gives the code; nothing links against them.
#pragma once
#include <dlfcn.h>

#include <string>
#include <vector>

#include "engine/core/error.h"

namespace vitrine::cuda {

// The first of these files that can be opened: where the loader looks, where the toolkit lies, or inside a Python environment. Null, and
// why, if none can.
void* open_first(const std::vector<std::string>& files, std::string& why);

template <class F>
bool find(void* handle, const char* name, F& f, std::string& why) {
  f = reinterpret_cast<F>(dlsym(handle, name));
  if (!f) why = cat("it has no ", name);
  return f != nullptr;
}

// A version as libraries() prints it, from a number like 91900.
inline std::string dotted(size_t v) { return cat(v / 10000, ".", v % 10000 / 100, ".", v % 100); }

}  // namespace vitrine::cuda
