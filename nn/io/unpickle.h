// A pickle reader for PyTorch checkpoints that executes nothing. It knows the opcodes of protocols 2 to 5 that build plain data and a
// fixed list of globals, to which it gives its own meaning; anything else is an Error that names the opcode or global and its offset.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/dtype.h"

namespace vitrine::io {

// Values refer to each other by index into Pickle::values. A pickle may share values, nest them without end or tie them in a loop:
// nothing here recurses, and freeing an array of values does not either.
struct Value {
  enum class Kind : uint8_t { none, boolean, integer, real, text, bytes, list, tuple, dict, global, storage, tensor };
  Kind kind = Kind::none;
  int64_t integer = 0;  // of integer and boolean; index into storages or views of storage and tensor
  double real = 0;
  std::string text;        // of text and bytes; "module name" of global. An integer beyond 64 bits is kept as its bytes, least first
  std::vector<int> items;  // of list and tuple; of dict: key, value, key, value, ... (a repeated key replaces the earlier one)
};

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

struct Pickle {
  std::vector<Value> values;
  std::vector<Storage> storages;
  std::vector<View> views;
  int root = 0;
  uint64_t end = 0;  // offset behind the STOP

  const Value& operator[](int id) const { return values[static_cast<size_t>(id)]; }
  int find(const Value& dict, const std::string& key) const;  // the value under a text key, -1 if there is none
};

// Reads one pickle from `bytes`, starting at `at`; `file` is for messages.
Pickle unpickle(std::string_view bytes, uint64_t at, const std::string& file);

}  // namespace vitrine::io
