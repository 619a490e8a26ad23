// Attrs: the attributes of an operator call, a struct that visits its fields. Printing, parsing, comparing and hashing are visitors,
// written once here, not once per operator.
//   struct Conv2dAttrs : Attrs { int64_t stride = 1; void visit(AttrVisitor& v) override { v("stride", stride); } };
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "engine/core/dtype.h"
#include "engine/core/shape.h"

namespace vitrine {

struct AttrVisitor {
  virtual void operator()(const char* name, int64_t& value) = 0;
  virtual void operator()(const char* name, double& value) = 0;
  virtual void operator()(const char* name, Shape& value) = 0;  // a list of up to six integers
  virtual void operator()(const char* name, Dtype& value) = 0;
  virtual ~AttrVisitor() = default;
};

struct Attrs {
  virtual void visit(AttrVisitor&) {}
  virtual ~Attrs() = default;
};
using AttrsPtr = std::shared_ptr<Attrs>;

std::string print(Attrs&);                    // " stride=2 pad=1", doubles in the shortest form that reads back equal
void parse(Attrs&, const std::string& text);  // Error names an unknown or malformed field

}  // namespace vitrine
