// IResNet (Deng et al., ArcFace, CVPR 2019; InsightFace's naming): input N,112,112,3, embedding [N, 512].
#pragma once
#include "nn/module.h"

namespace vitrine::nn {

// bn1 -> conv1 3x3 -> bn2 -> PReLU -> conv2 3x3 (stride) -> bn3, plus the input (through a strided 1x1 convolution and BatchNorm where the
// shape changes). No activation after the addition.
struct IBasicBlock : Module {
  IBasicBlock(int64_t in, int64_t out, int64_t stride);
  Tensor forward(const Tensor& x) override;
  void members(Visitor&) override;
  BatchNorm bn1;
  Conv2d conv1;
  BatchNorm bn2;
  PRelu prelu;
  Conv2d conv2;
  BatchNorm bn3;
  Sequential downsample;  // empty: identity
};

struct IResNetSpec {
  std::vector<int> blocks;  // of the four stages
  int64_t height = 112, width = 112;
  double channels = 1;  // multiplies 64, 128, 256, 512
  int64_t embedding = 512;
};

struct IResNet : Module {
  explicit IResNet(const IResNetSpec&);
  Tensor forward(const Tensor& x) override;
  void members(Visitor&) override;
  Conv2d conv1;
  BatchNorm bn1;
  PRelu prelu;
  std::vector<Sequential> layers;
  BatchNorm bn2;
  Linear fc;
  BatchNorm features;
};

}  // namespace vitrine::nn
