// The pickles of PyTorch checkpoints: dicts of tensors by thirteen globals, each with a meaning given here, and a list of others that may
// stand beside them and mean nothing. Nothing is executed.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/dtype.h"
#include "engine/core/pickle.h"

namespace vitrine::io {

// What a persistent id names: an array of `numel` elements that lies outside the pickle.
struct Storage {
  std::string key;
  Dtype dtype;
  int64_t numel;
};

// A strided view of a storage; offset and strides in elements. Not yet checked against the storage: see pth.cc.
struct View {
  int storage;
  int64_t offset;
  std::vector<int64_t> shape, stride;
};

// An object's text is kTensor or kStorage, and its integer an index into views or storages; or the text is empty.
inline constexpr const char *kTensor = "tensor", *kStorage = "storage";
struct TorchPickle : Pickle {
  std::vector<Storage> storages;
  std::vector<View> views;
};
inline bool is_tensor(const Pickle::Value& v) { return v.kind == Pickle::Value::Kind::object && v.text == kTensor; }

TorchPickle unpickle(std::string_view bytes, uint64_t at, const std::string& file);

}  // namespace vitrine::io
