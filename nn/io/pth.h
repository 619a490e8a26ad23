// PyTorch checkpoints: the zip format (torch >= 1.6) and the legacy format of concatenated pickles. Nothing in the file is executed.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/tensor.h"

namespace vitrine::io {

// Parameters and buffers by name, in the order of the file; names are unique. Shapes and element order are PyTorch's (O,I,kh,kw):
// every view is made contiguous, nothing is transposed.
struct StateDict {
  std::vector<std::pair<std::string, Tensor>> entries;
};

// Which dict of a nested checkpoint is the state dict: starting at the root,
//   1. if the dict has an item of one of the usual names (kUsualNames in pth.cc) that is a dict of tensors or of dicts, go there;
//   2. otherwise, if the dict holds tensors directly, it is the one: its tensors are the entries, its other items are left out;
//   3. otherwise, if exactly one of its items is such a dict, go there; if not, Error with the names to choose from.
// The names are unwrapped().
StateDict read_pth(const std::string& path);
StateDict parse_pth(std::string_view bytes, const std::string& file);  // `file` is for messages

// Without "n_averaged", the counter of averaged weights (swa_utils), and then without "module." (DataParallel, averaged weights) and
// "_orig_mod." (torch.compile) before the names, as often as every name has one.
StateDict unwrapped(StateDict state);

}  // namespace vitrine::io
