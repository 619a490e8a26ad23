// Libraries opened when first used: the headers give the types, dlopen gives the code; nothing links against them.
#pragma once
#include <string>
#include <vector>

#include "engine/core/error.h"

namespace vitrine::cuda {

struct Function {
  const char* name;
  void** at;  // where its address goes
};
#define VITRINE_FUNCTION(f) {#f, reinterpret_cast<void**>(&f)},

// Opens the first of these files that can be opened: where the loader looks, where the toolkit lies, or inside a Python environment. And
// finds the functions in it. False, and why, if there is none or it lacks one.
bool load(const std::vector<std::string>& files, const std::vector<Function>& functions, std::string& why);

// A version as libraries() prints it, from a number like 91900.
inline std::string dotted(size_t v) { return cat(v / 10000, ".", v % 10000 / 100, ".", v % 100); }

}  // namespace vitrine::cuda
