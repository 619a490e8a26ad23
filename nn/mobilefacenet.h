// MobileFaceNets: the classical one (Chen et al., CCBR 2018; embedding [N, 128]) and InsightFace's. Input N,H,W,3, H and W multiples of 16.
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

// Children called "layers.0", "layers.1", ...; residual: their result plus the input.
struct Layers : Module {
  Tensor forward(const Tensor& x) override { return residual ? add(layers.forward(x), x) : layers.forward(x); }
  void members(Visitor& v) override { v.child("layers", layers); }
  template <class M, class... Args>
  Layers& then(Args&&... args) {
    layers.add<M>(std::forward<Args>(args)...);
    return *this;
  }
  Sequential layers;
  bool residual = false;
};

// InsightFace's MobileFaceNet (arcface_torch's "mbf"): twice as wide at the start, with a linear layer and BatchNorm at the end; embedding
// [N, 512] unless told otherwise.
struct Mbf : Module {
  Mbf(int64_t height, int64_t width, int64_t embedding);
  Tensor forward(const Tensor& x) override { return features.forward(conv_sep.forward(layers.forward(x))); }
  void members(Visitor& v) override { v.child("layers", layers), v.child("conv_sep", conv_sep), v.child("features", features); }
  Sequential layers;
  Layers conv_sep, features;
};

}  // namespace vitrine::nn
