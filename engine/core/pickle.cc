#include "engine/core/pickle.h"

#include <bit>
#include <unordered_map>

#include "engine/core/bytes.h"
#include "engine/core/error.h"

namespace vitrine {
namespace {

using Value = Pickle::Value;
using Kind = Value::Kind;
// A value taken from the memo costs a byte or two of the file but may be long, so what an opcode copies is bounded, not just its bytes.
constexpr size_t kMaxValues = size_t{1} << 20;  // the largest checkpoints have some 100,000
constexpr size_t kMaxItems = size_t{1} << 22;   // of all containers together

// clang-format off
enum Op : uint8_t {
  kProtocol = 0x80, kFrame = 0x95, kStop = '.', kMark = '(', kPop = '0', kPopMark = '1',
  kNone = 'N', kTrue = 0x88, kFalse = 0x89, kInt1 = 'K', kInt2 = 'M', kInt4 = 'J', kLong1 = 0x8a, kLong4 = 0x8b, kFloat = 'G',
  kText1 = 0x8c, kText4 = 'X', kText8 = 0x8d, kString1 = 'U', kString4 = 'T',  // Python 2's str
  kBytes1 = 'C', kBytes4 = 'B', kBytes8 = 0x8e, kByteArray8 = 0x96,
  kEmptyTuple = ')', kTuple1 = 0x85, kTuple2 = 0x86, kTuple3 = 0x87, kTuple = 't',
  kEmptyList = ']', kAppend = 'a', kAppends = 'e', kEmptyDict = '}', kSetItem = 's', kSetItems = 'u',
  kEmptySet = 0x8f, kAddItems = 0x90, kFrozenSet = 0x91,  // sets are lists here
  kPut1 = 'q', kPut4 = 'r', kMemoize = 0x94, kGet1 = 'h', kGet4 = 'j',
  kGlobal = 'c', kStackGlobal = 0x93, kPersistent = 'Q', kReduce = 'R', kNewObject = 0x81, kBuild = 'b',
};
// clang-format on

class Machine {
 public:
  Machine(std::string_view bytes, uint64_t at, const std::string& file, PickleMeaning& meaning)
      : in_(bytes, file, at), meaning_(meaning), text_left_(bytes.size()) {}

  Pickle run() {
    op_at_ = in_.at();
    if (in_.number(1, "a pickle") != kProtocol) fail("expected a pickle of protocol 2 to 5");
    uint64_t protocol = in_.number(1, "the protocol");
    if (protocol < 2 || protocol > 5) fail(cat("protocol ", protocol, ", expected 2 to 5"));
    for (;;) {
      op_at_ = in_.at();
      auto op = static_cast<uint8_t>(in_.number(1, "an opcode"));
      if (op == kStop) break;
      if (!scalar(op) && !text(op) && !container(op) && !memo(op) && !object(op)) fail(cat("opcode ", int{op}, " is not supported"));
    }
    out_.root = pop();
    if (!stack_.empty() || !marks_.empty()) fail("values are left on the stack");
    out_.end = in_.at();
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const { in_.fail(op_at_, expected); }

  // --- values and the stack -------------------------------------------------------------------------------------------------------
  Value& at(int id) { return out_[id]; }
  int make(Value v) {
    if (out_.values.size() >= kMaxValues) fail(cat("more than ", kMaxValues, " values"));
    out_.values.push_back(std::move(v));
    return static_cast<int>(out_.values.size() - 1);
  }
  void push(int id) { stack_.push_back(id); }
  bool push(Value v) {
    push(make(std::move(v)));
    return true;
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }  // what lies below the last mark is out of reach
  int top() const {
    if (stack_.size() <= floor()) fail("the stack is empty");
    return stack_.back();
  }
  int pop() {
    int id = top();
    stack_.pop_back();
    return id;
  }
  std::vector<int> pop(size_t count) {
    if (stack_.size() - floor() < count) fail(cat("expected ", count, " values on the stack"));
    std::vector<int> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return items;
  }
  std::vector<int> pop_mark() {
    if (marks_.empty()) fail("expected a mark on the stack");
    std::vector<int> items = pop(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  void expect(int id, Kind kind, const char* what) {
    if (at(id).kind != kind) fail(cat("expected ", what));
  }
  // --- opcodes, by family; each returns whether the opcode was one of its own ----------------------------------------------------------
  bool scalar(uint8_t op) {
    switch (op) {
      case kNone:
        return push(Value{});
      case kTrue:
        return push({.kind = Kind::boolean, .integer = 1});
      case kFalse:
        return push({.kind = Kind::boolean, .integer = 0});
      case kInt1:
        return push_integer(static_cast<int64_t>(in_.number(1, "an integer")));
      case kInt2:
        return push_integer(static_cast<int64_t>(in_.number(2, "an integer")));
      case kInt4:
        return push_integer(static_cast<int32_t>(in_.number(4, "an integer")));
      case kLong1:
        return push_long(in_.number(1, "a length"));
      case kLong4:
        return push_long(in_.number(4, "a length"));
      case kFloat:
        return push({.kind = Kind::real, .real = std::bit_cast<double>(__builtin_bswap64(in_.number(8, "a number")))});
      default:
        return false;
    }
  }
  bool push_integer(int64_t v) { return push({.kind = Kind::integer, .integer = v}); }
  bool push_long(uint64_t length) {
    std::string_view raw = in_.take(length, "an integer");
    if (length > 8) return push({.kind = Kind::bytes, .text = std::string(raw)});
    uint64_t value = length && (raw.back() & 0x80) ? ~uint64_t{0} : 0;  // two's complement, sign-extended
    for (size_t i = raw.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(raw[i]);
    return push_integer(static_cast<int64_t>(value));
  }

  bool text(uint8_t op) {
    switch (op) {
      case kText1:
      case kString1:
        return push_text(Kind::text, 1);
      case kText4:
      case kString4:
        return push_text(Kind::text, 4);
      case kText8:
        return push_text(Kind::text, 8);
      case kBytes1:
        return push_text(Kind::bytes, 1);
      case kBytes4:
        return push_text(Kind::bytes, 4);
      case kBytes8:
      case kByteArray8:
        return push_text(Kind::bytes, 8);
      default:
        return false;
    }
  }
  bool push_text(Kind kind, int length_bytes) {
    uint64_t length = in_.number(length_bytes, "a length");
    return push({.kind = kind, .text = std::string(in_.take(length, "a string"))});
  }

  bool container(uint8_t op) {
    switch (op) {
      case kMark:
        marks_.push_back(stack_.size());
        return true;
      case kPop:
        pop();
        return true;
      case kPopMark:
        pop_mark();
        return true;
      case kEmptyTuple:
        return push({.kind = Kind::tuple});
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return push({.kind = Kind::tuple, .items = pop(size_t{op} - kTuple1 + 1)});
      case kTuple:
        return push({.kind = Kind::tuple, .items = pop_mark()});
      case kEmptyList:
      case kEmptySet:
        return push({.kind = Kind::list});
      case kAppend:
        return extend(pop(1), Kind::list);
      case kAppends:
      case kAddItems:
        return extend(pop_mark(), Kind::list);
      case kFrozenSet:
        return push({.kind = Kind::list, .items = pop_mark()});
      case kEmptyDict:
        return push({.kind = Kind::dict});
      case kSetItem:
        return extend(pop(2), Kind::dict);
      case kSetItems:
        return extend(pop_mark(), Kind::dict);
      default:
        return false;
    }
  }
  bool extend(const std::vector<int>& items, Kind kind) {
    int target = top();
    expect(target, kind, kind == Kind::dict ? "a dict below the items" : "a list below the items");
    if (kind == Kind::dict && items.size() % 2) fail("expected a value for every key");
    append(at(target).items, items);
    return true;
  }
  void append(std::vector<int>& to, const std::vector<int>& items) {
    item_count_ += items.size();
    if (item_count_ > kMaxItems) fail(cat("more than ", kMaxItems, " items"));
    to.insert(to.end(), items.begin(), items.end());
  }

  bool memo(uint8_t op) {
    switch (op) {
      case kPut1:
        memo_[in_.number(1, "a memo index")] = top();
        return true;
      case kPut4:
        memo_[in_.number(4, "a memo index")] = top();
        return true;
      case kMemoize: {
        size_t next = memo_.size();
        memo_[next] = top();
        return true;
      }
      case kGet1:
        push(recall(in_.number(1, "a memo index")));
        return true;
      case kGet4:
        push(recall(in_.number(4, "a memo index")));
        return true;
      case kFrame:
        in_.number(8, "a frame length");
        return true;  // frames only help readers of pipes
      default:
        return false;
    }
  }
  int recall(uint64_t index) {
    auto it = memo_.find(index);
    if (it == memo_.end()) fail(cat("memo ", index, " was never stored"));
    return it->second;
  }

  bool object(uint8_t op) {
    switch (op) {
      case kGlobal: {
        std::string module(in_.line("a module"));
        return push_global(cat(module, " ", in_.line("a name")));
      }
      case kStackGlobal: {
        auto names = pop(2);
        for (int id : names) expect(id, Kind::text, "module and name");
        return push_global(at(names[0]).text + " " + at(names[1]).text);
      }
      case kPersistent: {
        int id = pop();
        return push_made([&] { return meaning_.persistent(out_, at(id)); });
      }
      case kReduce:
      case kNewObject: {
        auto call = pop(2);
        expect(call[0], Kind::global, "something to call");
        expect(call[1], Kind::tuple, "a tuple of arguments");
        return push_made([&] { return meaning_.call(out_, at(call[0]).text, at(call[1]).items); });
      }
      case kBuild: {
        int state = pop(), object = top();
        guarded([&] { meaning_.build(out_, at(object), at(state)); });
        return true;
      }
      default:
        return false;
    }
  }
  bool push_global(std::string name) {
    if (!meaning_.allows(name)) fail(cat("global '", brief(name), "' is not allowed"));
    return push({.kind = Kind::global, .text = std::move(name)});
  }
  // What a call copies costs the file a byte or two: all of it together is bounded too.
  template <class F>
  bool push_made(const F& make_value) {
    Value v;
    guarded([&] { v = make_value(); });
    if (v.text.size() > text_left_) fail("the calls make more text than the file has bytes");
    text_left_ -= v.text.size();
    item_count_ += v.items.size();
    if (item_count_ > kMaxItems) fail(cat("more than ", kMaxItems, " items"));
    return push(std::move(v));
  }
  template <class F>
  void guarded(const F& f) {
    try {
      f();
    } catch (const Error& e) {
      fail(e.what());
    }
  }

  Cursor in_;
  PickleMeaning& meaning_;
  uint64_t op_at_ = 0;
  Pickle out_;
  std::vector<int> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, int> memo_;
  size_t item_count_ = 0, text_left_;
};

}  // namespace

int Pickle::find(const Value& dict, const std::string& key) const {
  if (dict.kind != Kind::dict) return -1;
  for (size_t i = dict.items.size(); i >= 2; i -= 2) {
    const Value& k = (*this)[dict.items[i - 2]];
    if (k.kind == Kind::text && k.text == key) return dict.items[i - 1];
  }
  return -1;
}

Pickle::Value PickleMeaning::persistent(const Pickle&, const Value&) { throw Error("a persistent id is not allowed"); }

Pickle unpickle(std::string_view bytes, uint64_t at, const std::string& file, PickleMeaning& meaning) {
  return Machine(bytes, at, file, meaning).run();
}

}  // namespace vitrine
