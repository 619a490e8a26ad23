// The classical MobileFaceNet (Chen et al., CCBR 2018): input N,H,W,3 with H and W multiples of 16, embedding [N, 128].
#pragma once
#include "nn/module.h"

namespace vitrine::nn {

// Convolution, BatchNorm and, unless linear, PReLU.
struct ConvBlock : Module {
  ConvBlock(int64_t in, int64_t out, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t pad, int64_t groups, bool linear);
  Tensor forward(const Tensor& x) override;
  void members(Visitor&) override;
  Conv2d conv;
  BatchNorm bn;
  PRelu prelu;
  bool linear;
};

// 1x1 expansion -> 3x3 depthwise -> 1x1 linear, plus the input where shapes agree.
struct Bottleneck : Module {
  Bottleneck(int64_t in, int64_t out, int64_t stride, int64_t expansion);
  Tensor forward(const Tensor& x) override;
  void members(Visitor& v) override { v.child("conv", conv); }
  Sequential conv;
  bool residual;
};

struct MobileFaceNetSpec {
  int64_t height = 112, width = 112, embedding = 128;
};

struct MobileFaceNet : Module {
  explicit MobileFaceNet(const MobileFaceNetSpec&);
  Tensor forward(const Tensor& x) override;
  void members(Visitor&) override;
  ConvBlock conv1, dw_conv1;
  Sequential blocks;
  ConvBlock conv2, linear7, linear1;
};

}  // namespace vitrine::nn
