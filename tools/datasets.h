// Data sets as the command line names them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace vitrine::tools {

constexpr const char* kDataHelp =
    "aligned crops: DIR/<identity>/<image>.{jpg,png}, DIR/train.rec with train.idx, or synthetic:<identities>x<images>, rendered faces";

// A set, perhaps a part of it, kept in memory once decoded.
class OpenedSet {
 public:
  // `fraction` of the images, chosen by the seed, of those whose identity (their folder) the pair list `without` does not name. Error if
  // there is no such set, or if the list names nobody in it.
  OpenedSet(const std::string& spec, double fraction, uint64_t seed, const std::string& without = {});
  const data::Dataset& set() const { return *views_.back(); }

 private:
  std::vector<std::unique_ptr<data::Dataset>> views_;  // each of the one before
};

}  // namespace vitrine::tools
