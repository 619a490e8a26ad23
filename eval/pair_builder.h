// What every reader of pair lists does with a pair it has found: distinct images are numbered, and pairs that would falsify a count are
// refused.
#pragma once
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "eval/pairs.h"

namespace vitrine::eval {

class PairBuilder {
 public:
  // `line` of `file` is where the pair ends. Error for a path that leaves its folder, an image paired with itself, a pair seen before.
  void add(const std::string& file, int line, const std::string& a, const std::string& b, bool same, int fold = 0);
  PairList list;

 private:
  int image_index(const std::string& path);
  std::unordered_map<std::string, int> index_;
  std::unordered_set<uint64_t> seen_;
};

// Every fold has as many same as different pairs, and some. Error that names `file` and the fold otherwise.
void check_balance(const PairList& list, const std::string& file);

}  // namespace vitrine::eval
