// A pickle reader that executes nothing. It knows the opcodes of protocols 2 to 5 that build plain data; which globals a file may name,
// and what calling them makes, is said by the format that is being read. Anything else is an Error that names the opcode or global and
// its offset.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrine {

struct Pickle {
  // Values refer to each other by index into Pickle::values. A pickle may share values, nest them without end or tie them in a loop:
  // nothing here recurses, and freeing an array of values does not either.
  struct Value {
    enum class Kind : uint8_t { none, boolean, integer, real, text, bytes, list, tuple, dict, global, object };
    Kind kind = Kind::none;
    int64_t integer = 0;  // of integer and boolean
    double real = 0;
    std::string text;        // of text and bytes; "module name" of global. An integer beyond 64 bits is kept as its bytes, least first
    std::vector<int> items;  // of list and tuple; of dict: key, value, key, value, ... (a repeated key replaces the earlier one)
    // An object is what a call or a persistent id stands for; the fields mean what PickleMeaning says.
  };

  std::vector<Value> values;
  int root = 0;
  uint64_t end = 0;  // offset behind the STOP

  const Value& operator[](int id) const { return values[static_cast<size_t>(id)]; }
  Value& operator[](int id) { return values[static_cast<size_t>(id)]; }
  int find(const Value& dict, const std::string& key) const;  // the value under a text key, -1 if there is none
};

// What a format gives to the machine. Functions that refuse throw Error with the expectation only; the machine adds file and offset.
class PickleMeaning {
 public:
  virtual ~PickleMeaning() = default;
  virtual bool allows(const std::string& global) const = 0;                                                     // "module name"
  virtual Pickle::Value call(const Pickle&, const std::string& global, const std::vector<int>& arguments) = 0;  // of an allowed global
  virtual Pickle::Value persistent(const Pickle&, const Pickle::Value& id);                                     // refuses
  virtual void build(const Pickle&, Pickle::Value& object, const Pickle::Value& state) = 0;                     // __setstate__
};

// Reads one pickle from `bytes`, starting at `at`; `file` is for messages.
Pickle unpickle(std::string_view bytes, uint64_t at, const std::string& file, PickleMeaning& meaning);

}  // namespace vitrine
