// From somebody's checkpoint to a model: which network it is, and PyTorch's element order to ours.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "nn/io/model_file.h"
#include "nn/io/onnx.h"
#include "nn/io/pth.h"
#include "nn/io/safetensors.h"
#include "nn/network.h"

namespace vitrine::nn {
namespace {

using Entries = std::map<std::string, Tensor>;

// Our shape of a PyTorch tensor: O,I,kh,kw -> O,kh,kw,I.
Shape our_shape(const Shape& s) { return s.rank() == 4 ? Shape{s[0], s[2], s[3], s[1]} : s; }

// Input sizes of the networks in use, tried in turn where a kernel or a matrix spans the image.
constexpr int64_t kSizes[][2] = {{112, 112}, {112, 96}, {128, 128}, {224, 224}};

struct Difference {
  std::string first;   // empty if the entries are the state of the network
  size_t matched = 0;  // entries of a name and shape of the network
};

Difference difference(Module& m, const Entries& entries) {
  Difference d;
  std::set<std::string> ours;
  const auto note = [&](const auto&... text) {
    if (d.first.empty()) d.first = cat(text...);
  };
  for (auto& member : named_members(m)) {
    ours.insert(member.name);
    auto it = entries.find(member.name);
    if (it == entries.end()) {
      if (member.role != Role::batches) note(member.name, " is missing");  // older files lack those
    } else if (our_shape(it->second.shape()) != member.tensor->shape()) {
      note(member.name, " is ", it->second.shape(), " (PyTorch's order), expected ", member.tensor->shape(), " (O,kh,kw,I)");
    } else {
      ++d.matched;
    }
  }
  for (auto& [name, tensor] : entries)
    if (!ours.count(name)) note(name, " is not part of it");
  return d;
}

// Columns of a matrix that reads a flattened C,H,W image -> flattened H,W,C.
Tensor permute_columns(const Tensor& w, int64_t h, int64_t width, int64_t c) {
  Tensor split = w.view({w.shape()[0], c, h, width});
  return transpose(split, {0, 2, 3, 1}).view(w.shape());
}

// For each matrix: the image that was flattened before it.
std::map<std::string, Shape> flattened_images(const Graph& g) {
  std::map<Id, Shape> flat;
  std::map<std::string, Shape> found;
  for (const GraphNode& n : g.nodes) {
    const Shape& in = g.values[n.in[0]].meta.shape;
    if (is(n, "reshape") && in.rank() == 4) flat[n.out[0]] = in;
    if (is(n, "matmul") && flat.count(n.in[0]) && !g.values[n.in[1]].name.empty()) found[g.values[n.in[1]].name] = flat[n.in[0]];
  }
  return found;
}

// An entry in the network's dtype. Error unless its numbers are such as a network computes with.
Tensor checked(const Tensor& entry, Dtype dtype, bool variance, const std::string& where) {
  const std::set<Dtype> floats = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16};
  CHECK(floats.count(entry.dtype()), where, " is ", str(entry.meta()), ", expected floating-point numbers");
  Tensor t = entry.to(dtype);
  for (double v : t.values())
    CHECK(std::isfinite(v) && (v >= 0 || !variance), where, " holds ", v, ", expected finite numbers", variance ? " from 0" : "");
  return t;
}

void load(Model& model, const Entries& entries, const std::string& source) {
  NoGrad quiet;
  auto flat = flattened_images(model.graph);
  for (auto& [name, tensor] : model.tensors) {
    Tensor t = checked(entries.at(name), tensor.dtype(), name.ends_with("running_var"), cat(source, ": ", name));
    if (t.shape().rank() == 4) t = transpose(t, {0, 2, 3, 1});
    if (auto it = flat.find(name); it != flat.end()) t = permute_columns(t, it->second[1], it->second[2], it->second[3]);
    tensor = t.clone();
  }
}

// PyTorch files say nothing of their channels' multiplier and embedding; both are read off the shapes.
NetworkOptions options_for(const std::string& arch, const Entries& entries) {
  NetworkOptions o;
  if (auto it = entries.find("conv1.weight"); arch.starts_with("iresnet") && it != entries.end() && it->second.shape().rank() == 4)
    o.channels = static_cast<double>(it->second.shape()[0]) / 64.0;
  for (const char* last : {"fc.weight", "features.layers.2.weight"})
    if (auto it = entries.find(last); it != entries.end() && it->second.shape().rank() == 2) o.embedding = it->second.shape()[0];
  if (auto it = entries.find("linear1.conv.weight"); it != entries.end() && it->second.shape().rank() == 4)
    o.embedding = it->second.shape()[0];
  return o;
}

std::string starts_with(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in, path, ": cannot be opened; expected a model file or one of the networks' names");
  std::string magic(16, '\0');
  in.read(magic.data(), 16);
  magic.resize(in.gcount());
  return magic;
}

}  // namespace

Model from_state_dict(const io::StateDict& state, const std::string& source) {
  Entries entries(state.entries.begin(), state.entries.end());
  std::string reasons;
  for (const std::string& arch : network_names()) {
    Difference closest;
    for (auto [height, width] : kSizes) {
      NetworkOptions options = options_for(arch, entries);
      options.height = height, options.width = width;
      auto m = make_network(arch, options);
      const Difference differs = difference(*m, entries);
      if (differs.first.empty()) {
        Model model = to_model(*m, arch, options);
        load(model, entries, source);
        model.info["source"] = std::filesystem::path(source).filename();
        check(model);
        return model;
      }
      if (closest.first.empty() || differs.matched > closest.matched) closest = differs;
    }
    reasons += cat("; not ", arch, ": ", closest.first);
  }
  throw Error(cat(source, ": a state dict of ", entries.size(), " tensors that fits no known network", reasons));
}

Model open_model(const std::string& path, uint64_t seed) {
  bool exists = std::filesystem::exists(path);
  for (const std::string& name : network_names())
    if (name == path && !exists) return make_model(name, seed);
  std::string magic = starts_with(path), ending = std::filesystem::path(path).extension();
  if (ending == ".onnx") return io::import_onnx(path);
  bool json_header = magic.size() > 8 && magic[8] == '{';
  if (ending == ".safetensors" || json_header) {
    io::TensorFile file = io::read_safetensors(path);
    if (file.metadata.count("vitrine.graph")) return io::load_model(path);
    return from_state_dict(io::unwrapped({file.tensors}), path);
  }
  return from_state_dict(io::read_pth(path), path);
}

}  // namespace vitrine::nn
