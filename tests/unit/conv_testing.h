// Shapes of convolutions for the tests of kernels: square strides and padding, y's size from x's.
#pragma once
#include <string>

#include "engine/core/error.h"
#include "engine/cpu/conv.h"

namespace vitrine::cpu {

inline ConvShape shape(int64_t n, int64_t h, int64_t w, int64_t c, int64_t o, int64_t kh, int64_t kw, int64_t stride, int64_t pad,
                       int64_t groups = 1, int64_t dilation = 1) {
  ConvShape s{n, h, w, c, o, kh, kw, 0, 0, stride, stride, pad, pad, dilation, dilation, groups};
  s.oh = (h + 2 * pad - dilation * (kh - 1) - 1) / stride + 1;
  s.ow = (w + 2 * pad - dilation * (kw - 1) - 1) / stride + 1;
  return s;
}
inline std::string str(const ConvShape& s) {
  return cat(s.n, "x", s.h, "x", s.w, "x", s.c, " * ", s.o, "x", s.kh, "x", s.kw, " stride ", s.stride_h, " pad ", s.pad_h, " dilation ",
             s.dilation_h, " groups ", s.groups);
}

}  // namespace vitrine::cpu
