// Damaged input for every parser of foreign files: a table of parsers with valid files to start from, and a deterministic mutator.
// The suite runs a short version (tests/unit/fuzz_test.cc), `make fuzz` a long one (tests/fuzz/fuzz.cc).
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace vitrine::fuzz {

struct Target {
  std::string name;
  std::vector<std::string> seeds;  // contents of valid files
  std::function<void(const std::string&)> parse;
  bool cut_is_error = true;                       // a file cut anywhere is not a valid one
  std::function<void(std::string&)> repair = {};  // puts checksums right, so that mutants get past them
};
const std::vector<Target>& targets();

// The same for the same (target, number) anywhere: one to four edits of a seed, each a flipped bit, a changed byte, a run of equal bytes, a
// removed, repeated, moved or cut piece, a piece of another seed, an extreme integer (binary or decimal).
std::string mutant(const Target& target, uint64_t number);

// What became of an input: read, refused by Error, or neither. `finding` is empty while the contract holds: success or an Error of one
// short line, without tensors out of proportion.
struct Outcome {
  bool read = false;
  std::string error, finding;
};
Outcome run(const Target& target, const std::string& input);

}  // namespace vitrine::fuzz
