// Networks by name, as models: a Graph with its tensors. Also how a PyTorch state_dict finds the network it belongs to.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "nn/io/pth.h"
#include "nn/module.h"

namespace vitrine::nn {

struct NetworkOptions {
  int64_t height = 112, width = 112;
  double channels = 1;    // width multiplier (IResNet)
  int64_t embedding = 0;  // 0: the network's own
};

std::vector<std::string> network_names();  // iresnet18, iresnet34, iresnet50, iresnet100, mobilefacenet, mbf
std::unique_ptr<Module> make_network(const std::string& name, const NetworkOptions& = {});  // Error lists the names

// Fills every tensor by its role, from Philox(seed, hash of its name): the order of members does not matter.
// IResNet: convolutions N(0, 0.1^2). MobileFaceNets: N(0, 2 / (kh kw out)). Linear U(+-1/sqrt(in)). gamma 1, beta 0, slopes 0.25.
void initialise(Module&, uint64_t seed);

// A module as a model, traced in evaluation mode at batch 1. info: "arch", "mean", "std", "bgr", "frozen" (names, comma-separated).
Model to_model(Module&, const std::string& name, const NetworkOptions& = {});
Model make_model(const std::string& name, uint64_t seed, const NetworkOptions& = {});

// The state_dict of a known network: recognised by names and shapes (height and width too, where a kernel spans the image).
// Weights are transposed from O,I,kh,kw, and the columns of a matrix behind a flatten from C,H,W to H,W,C.
Model from_state_dict(const io::StateDict&, const std::string& source);

// A file (.safetensors, .pth/.pt/.ckpt, .onnx, by content) or a network's name with seeded random weights.
Model open_model(const std::string& path_or_name, uint64_t seed = 1);

// Parameters that an optimiser may change: floats, all but those in info["frozen"].
std::vector<std::string> trainable(const Model&);

}  // namespace vitrine::nn
