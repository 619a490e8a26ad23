#include "engine/core/attrs.h"

#include <charconv>
#include <map>
#include <sstream>

#include "engine/core/text.h"

namespace vitrine {
namespace {

struct Printer : AttrVisitor {
  std::string out;
  void put(const char* name, const std::string& value) { out += cat(" ", name, "=", value); }
  void operator()(const char* name, int64_t& v) override { put(name, std::to_string(v)); }
  void operator()(const char* name, double& v) override {
    char text[40];
    put(name, std::string(text, std::to_chars(text, text + sizeof text, v).ptr));  // shortest text that reads back equal
  }
  void operator()(const char* name, Shape& v) override {
    std::string list;
    for (int i = 0; i < v.rank(); ++i) list += (i ? "," : "") + std::to_string(v[i]);
    put(name, list);
  }
  void operator()(const char* name, Dtype& v) override { put(name, info(v).name); }
};

template <class T>
T number(const char* name, std::string_view text) {
  const auto value = number_from<T>(text);
  CHECK(value, "attribute ", name, ": '", text, "' is not a number");
  return *value;
}

struct Reader : AttrVisitor {
  std::map<std::string, std::string, std::less<>> fields;
  template <class F>
  void take(const char* name, F&& use) {
    auto it = fields.find(name);
    if (it == fields.end()) return;
    use(it->second);
    fields.erase(it);
  }
  void operator()(const char* name, int64_t& v) override {
    take(name, [&](auto& t) { v = number<int64_t>(name, t); });
  }
  void operator()(const char* name, double& v) override {
    take(name, [&](auto& t) { v = number<double>(name, t); });
  }
  void operator()(const char* name, Shape& v) override {
    take(name, [&](const std::string& t) {
      v = Shape();
      std::istringstream list(t);
      for (std::string item; std::getline(list, item, ',');) v.push_back(number<int64_t>(name, item));
    });
  }
  void operator()(const char* name, Dtype& v) override {
    take(name, [&](const std::string& t) { v = dtype_named(t); });
  }
};

}  // namespace

std::string print(Attrs& a) {
  Printer p;
  a.visit(p);
  return p.out;
}

void parse(Attrs& a, const std::string& text) {
  Reader r;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    size_t eq = word.find('=');
    CHECK(eq != std::string::npos && eq > 0, "attribute '", word, "': expected name=value");
    CHECK(r.fields.emplace(word.substr(0, eq), word.substr(eq + 1)).second, "attribute ", word.substr(0, eq), " is given twice");
  }
  a.visit(r);
  CHECK(r.fields.empty(), "unknown attribute ", r.fields.begin()->first);
}

}  // namespace vitrine
