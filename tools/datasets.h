// Data sets as the command line names them.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "data/dataset.h"

namespace vitrine::tools {

constexpr const char* kDataHelp =
    "aligned crops: DIR/<identity>/<image>.{jpg,png}, DIR/train.rec with train.idx, or synthetic:<identities>x<images>, rendered faces";

// A set, perhaps a part of it, kept in memory once decoded.
class OpenedSet {
 public:
  // `fraction` of the images, chosen by the seed. Error if there is no such set.
  OpenedSet(const std::string& spec, double fraction, uint64_t seed);
  const data::Dataset& set() const { return *cached_; }

 private:
  std::unique_ptr<data::Dataset> all_, part_, cached_;
};

}  // namespace vitrine::tools
