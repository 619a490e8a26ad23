// What became of every pair of a list, as a file beside a run's record: for paired tests and for whoever wants to look closer.
// Tab-separated, a title line first: image image same fold distance correct
#pragma once
#include <ostream>
#include <string>
#include <vector>

#include "eval/pairs.h"
#include "eval/verify.h"

namespace vitrine::eval {

struct Decision {
  bool same = false, correct = false;
  double distance = 0;
  std::string pair = {};  // its two images, where they were read from a file
};

std::vector<Decision> decide(const Trials&, const Verification&);  // each at its fold's threshold
void write_decisions(std::ostream&, const PairList&, const Trials&, const Verification&);
std::vector<Decision> read_decisions(const std::string& path);  // Error "FILE:LINE: ..." for anything else

}  // namespace vitrine::eval
