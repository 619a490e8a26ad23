#include "nn/io/unpickle.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <unordered_map>

#include "nn/io/bytes.h"

namespace vitrine::io {
namespace {

using Kind = Value::Kind;
// A value taken from the memo costs a byte or two of the file but may be long, so what an opcode copies is bounded, not just its bytes.
constexpr size_t kMaxValues = size_t{1} << 20;  // the largest checkpoints have some 100,000
constexpr size_t kMaxItems = size_t{1} << 22;   // of all containers together
constexpr size_t kMaxKey = 255;                 // of a storage

// clang-format off
enum Op : uint8_t {
  kProtocol = 0x80, kFrame = 0x95, kStop = '.', kMark = '(', kPop = '0', kPopMark = '1',
  kNone = 'N', kTrue = 0x88, kFalse = 0x89, kInt1 = 'K', kInt2 = 'M', kInt4 = 'J', kLong1 = 0x8a, kLong4 = 0x8b, kFloat = 'G',
  kText1 = 0x8c, kText4 = 'X', kText8 = 0x8d, kString1 = 'U', kString4 = 'T',  // Python 2's str
  kBytes1 = 'C', kBytes4 = 'B', kBytes8 = 0x8e, kByteArray8 = 0x96,
  kEmptyTuple = ')', kTuple1 = 0x85, kTuple2 = 0x86, kTuple3 = 0x87, kTuple = 't',
  kEmptyList = ']', kAppend = 'a', kAppends = 'e', kEmptyDict = '}', kSetItem = 's', kSetItems = 'u',
  kPut1 = 'q', kPut4 = 'r', kMemoize = 0x94, kGet1 = 'h', kGet4 = 'j',
  kGlobal = 'c', kStackGlobal = 0x93, kPersistent = 'Q', kReduce = 'R', kBuild = 'b',
};
// clang-format on

constexpr const char* kOrderedDict = "collections OrderedDict";
constexpr const char* kTensor = "torch._utils _rebuild_tensor_v2";
constexpr const char* kParameter = "torch._utils _rebuild_parameter";
constexpr std::pair<const char*, Dtype> kStorages[] = {
    {"torch FloatStorage", Dtype::f32}, {"torch DoubleStorage", Dtype::f64},    {"torch HalfStorage", Dtype::f16},
    {"torch LongStorage", Dtype::i64},  {"torch BFloat16Storage", Dtype::bf16}, {"torch IntStorage", Dtype::i32},
    {"torch ShortStorage", Dtype::i16}, {"torch CharStorage", Dtype::i8},       {"torch ByteStorage", Dtype::u8},
    {"torch BoolStorage", Dtype::b8},
};
const Dtype* storage_dtype(const std::string& global) {
  for (const auto& [name, dtype] : kStorages)
    if (global == name) return &dtype;
  return nullptr;
}

class Machine {
 public:
  Machine(std::string_view bytes, uint64_t at, const std::string& file) : in_(bytes, file, at) {}

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
  Value& at(int id) { return out_.values[static_cast<size_t>(id)]; }
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
  int64_t integer(int id, const char* what) {
    expect(id, Kind::integer, what);
    return at(id).integer;
  }
  std::vector<int64_t> integers(int id, const char* what) {
    expect(id, Kind::tuple, what);
    if (at(id).items.size() > Shape::kMaxRank) fail(cat("expected ", what, " of at most ", Shape::kMaxRank, " extents"));
    std::vector<int64_t> out;
    for (int item : at(id).items) out.push_back(integer(item, what));
    return out;
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
        return push({.kind = Kind::list});
      case kAppend:
        return extend(pop(1), Kind::list);
      case kAppends:
        return extend(pop_mark(), Kind::list);
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
      case kPersistent:
        return push_storage(pop());
      case kReduce: {
        auto call = pop(2);
        expect(call[0], Kind::global, "something to call");
        expect(call[1], Kind::tuple, "a tuple of arguments");
        push(reduce(at(call[0]).text, at(call[1]).items));
        return true;
      }
      case kBuild:  // the state of an OrderedDict is _metadata: version numbers of modules
        pop();
        expect(top(), Kind::dict, "an OrderedDict below its state");
        return true;
      default:
        return false;
    }
  }
  bool push_global(std::string name) {
    bool allowed = name == kOrderedDict || name == kTensor || name == kParameter || storage_dtype(name);
    if (!allowed) fail(cat("global '", brief(name), "' is not allowed"));
    return push({.kind = Kind::global, .text = std::move(name)});
  }
  // ('storage', type, key, location, numel) and, in the legacy format, a sixth item for views of storages.
  bool push_storage(int id) {
    expect(id, Kind::tuple, "a persistent id ('storage', type, key, location, numel)");
    const std::vector<int>& items = at(id).items;
    bool six = items.size() == 6 && at(items[5]).kind == Kind::none;
    if ((items.size() != 5 && !six) || at(items[0]).text != "storage")
      fail("expected a persistent id ('storage', type, key, location, numel)");
    const Dtype* dtype = storage_dtype(at(items[1]).text);
    if (at(items[1]).kind != Kind::global || !dtype) fail("expected a storage type");
    expect(items[2], Kind::text, "a storage key");
    if (at(items[2]).text.size() > kMaxKey) fail(cat("a storage key of ", at(items[2]).text.size(), " bytes"));
    int64_t numel = integer(items[4], "the number of elements");
    if (!tensor_bytes({numel}, *dtype)) fail(cat("a storage of ", numel, " elements"));
    out_.storages.push_back({at(items[2]).text, *dtype, numel});
    return push({.kind = Kind::storage, .integer = static_cast<int64_t>(out_.storages.size() - 1)});
  }

  int reduce(const std::string& name, const std::vector<int>& args) {
    if (name == kOrderedDict) return ordered_dict(args);
    if (name == kParameter) {  // (tensor, requires_grad, hooks)
      if (args.size() != 3) fail("_rebuild_parameter: expected 3 arguments");
      expect(args[0], Kind::tensor, "a tensor");
      return args[0];
    }
    if (name != kTensor) fail(cat("global '", name, "' cannot be called"));
    // (storage, offset, size, stride, requires_grad, hooks[, metadata])
    if (args.size() != 6 && args.size() != 7) fail("_rebuild_tensor_v2: expected 6 arguments");
    expect(args[0], Kind::storage, "a storage");
    View view{static_cast<int>(at(args[0]).integer), integer(args[1], "a storage offset"), integers(args[2], "a size"),
              integers(args[3], "a stride")};
    if (view.shape.size() != view.stride.size()) fail("size and stride differ in length");
    out_.views.push_back(std::move(view));
    return make({.kind = Kind::tensor, .integer = static_cast<int64_t>(out_.views.size() - 1)});
  }
  // OrderedDict(), or with one list of [key, value] pairs as Python 2 wrote it.
  int ordered_dict(const std::vector<int>& args) {
    Value dict{.kind = Kind::dict};
    if (args.size() > 1) fail("OrderedDict: expected at most one argument");
    if (args.size() == 1) {
      expect(args[0], Kind::list, "a list of pairs");
      for (int pair : at(args[0]).items) {
        const Value& p = at(pair);
        if ((p.kind != Kind::list && p.kind != Kind::tuple) || p.items.size() != 2) fail("expected a [key, value] pair");
        append(dict.items, p.items);
      }
    }
    return make(std::move(dict));
  }

  Cursor in_;
  uint64_t op_at_ = 0;
  Pickle out_;
  std::vector<int> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, int> memo_;
  size_t item_count_ = 0;
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

Pickle unpickle(std::string_view bytes, uint64_t at, const std::string& file) { return Machine(bytes, at, file).run(); }

}  // namespace vitrine::io
