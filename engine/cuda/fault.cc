#include "engine/cuda/fault.h"

#include "engine/core/error.h"

namespace vitrine::cuda {
namespace {

const char* text(Fault::What what) {
  switch (what) {
    case Fault::gather:
      return "gather: index ";
    case Fault::scatter:
      return "scatter_add: index ";
    case Fault::image:
      return "image_input: byte ";
    default:
      return "label ";
  }
}

}  // namespace

void throw_faults() {
  const Fault found = *fault();
  if (found.what == Fault::none) return;
  fault()->what = Fault::none;
  CHECK(found.what != Fault::range, "range of codes: expected finite ends round 0");
  throw Error(cat(text(found.what), found.value, ": expected 0 to ", found.limit - 1));
}

}  // namespace vitrine::cuda
