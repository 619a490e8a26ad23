// What a benchmark says about itself, and the table made of it: median and spread over repetitions, rate, share of the machine's peak.
#pragma once
#include <functional>
#include <string>

namespace vitrine::bench {

struct Entry {
  std::string group;  // summed up together, e.g. "iresnet18 batch 32 forward"
  std::string name;
  double flops, bytes;                             // of one call; flops 0: bound by memory, its share is of the read bandwidth
  int64_t multiplicity;                            // how often the network has it
  std::function<std::function<void()>()> prepare;  // allocates and returns the call to measure
  bool codes = false;                              // flops are operations on 8-bit codes: the share is of their peak
};
void add(Entry);

}  // namespace vitrine::bench
