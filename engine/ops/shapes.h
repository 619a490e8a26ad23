// Shape rules that several operators share.
#pragma once
#include <algorithm>

#include "engine/core/op.h"

namespace vitrine {

inline bool is_float(Dtype d) { return d == Dtype::f32 || d == Dtype::f64; }

// All inputs from `first` on are of one float dtype, those before it of that or bf16.
inline void check_float(const Metas& in, size_t count, size_t first = 0) {
  CHECK(count > 0 && in.size() == count, "expected ", std::max<size_t>(count, 1), " inputs, got ", in.size());
  for (size_t i = 0; i < count; ++i)
    CHECK((is_float(in[i].dtype) && in[i].dtype == in[first].dtype) || (i < first && in[i].dtype == Dtype::bf16),
          "expected inputs of one floating-point dtype");
}

// Packed codes have no elements to move one by one.
inline void check_indexable(const Meta& m) { CHECK(!info(m.dtype).packed(), str(m), ": expected a dtype whose elements can be indexed"); }

inline void check_channels(const Meta& x, const Meta& v, const char* what) {
  CHECK(x.shape.rank() >= 1 && v.shape == Shape({x.shape.back()}), what, " ", v.shape, " for ", x.shape, ": expected [", x.shape.back(),
        "]");
}

// Extents that come from an attribute, and so perhaps from a damaged file: none is negative and no product of them overflows.
inline void check_extents(const Shape& s) {
  double total = 1;
  for (int64_t extent : s) {
    total *= static_cast<double>(std::max<int64_t>(extent, 1));
    CHECK(extent >= 0 && total < 0x1p53, "shape ", s, " is negative or absurdly large");
  }
}

inline Shape broadcast(const Shape& a, const Shape& b) {
  int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    int64_t da = i + a.rank() - rank >= 0 ? a[i + a.rank() - rank] : 1, db = i + b.rank() - rank >= 0 ? b[i + b.rank() - rank] : 1;
    CHECK(da == db || da == 1 || db == 1, "shapes ", a, " and ", b, " do not broadcast");
    out.push_back(da == 1 ? db : da);
  }
  return out;
}

// Element strides of `from` when it is read at positions of `to`: 0 along axes that are repeated.
inline Shape broadcast_strides(const Shape& from, const Shape& to) {
  Shape strides;
  for (int i = 0; i < to.rank(); ++i) {
    int k = i + from.rank() - to.rank();
    strides.push_back(k < 0 || from[k] == 1 ? 0 : from.product(k + 1, from.rank()));
  }
  return strides;
}

}  // namespace vitrine
