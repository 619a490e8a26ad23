#include "engine/cuda/loaded.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>

#include "engine/cuda/library.h"

namespace vitrine::cuda {
namespace {

std::vector<std::string> places(const std::string& file) {
  std::vector<std::string> all{file, "/usr/local/cuda/lib64/" + file};
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX", ""}) {
    const char* root = *variable ? std::getenv(variable) : "/usr{,/local}";
    if (!root) continue;
    glob_t found{};
    const std::string pattern = cat(root, "/lib/python3*/{site,dist}-packages/nvidia/*/lib/", file);
    if (glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0) all.insert(all.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
  }
  return all;
}

void* open_first(const std::vector<std::string>& files, std::string& why) {
  for (const std::string& file : files)
    for (const std::string& place : places(file)) {
      if (void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL)) return handle;
      if (why.empty()) why = dlerror();
    }
  return nullptr;
}

}  // namespace

bool load(const std::vector<std::string>& files, const std::vector<Function>& functions, std::string& why) {
  void* handle = open_first(files, why);
  if (!handle) return false;
  why.clear();
  for (const Function& f : functions)
    if (!(*f.at = dlsym(handle, f.name))) why = cat("it has no ", f.name);
  return why.empty();
}

std::string libraries() { return cudnn_text() + ", " + cublas_text(); }

}  // namespace vitrine::cuda
