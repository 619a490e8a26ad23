#include <charconv>
#include <climits>
#include <numeric>

#include "engine/ops.h"
#include "engine/ops/batch_norm.h"
#include "engine/ops/concat.h"
#include "engine/ops/elementwise.h"
#include "nn/io/bytes.h"
#include "nn/io/onnx_importer.h"

namespace vitrine::io {
// --- layers -------------------------------------------------------------------------------------------------------------------------
void Importer::check_padding() {
  if (auto* a = attribute("auto_pad"); a && a->s() != "NOTSET" && a->s() != "VALID") fail("auto_pad ", brief(a->s()), ", expected NOTSET");
}
std::vector<int64_t> Importer::symmetric_pads() {
  auto pads = integers("pads", {0, 0, 0, 0}, 0, kMaxExtent);
  if (pads[0] != pads[2] || pads[1] != pads[3]) fail("pads ", list(pads), ", expected the same on opposite sides");
  return pads;
}

void Importer::conv() {
  check_padding();
  Id x = value(input(0));
  Tensor w = weights(1);
  if (w.shape().rank() != 4) fail("weights ", w.shape(), ", expected O,I,kh,kw");
  auto strides = integers("strides", {1, 1}, 1, kMaxExtent), dilations = integers("dilations", {1, 1}, 1, kMaxExtent);
  auto pads = symmetric_pads();
  auto a = std::make_shared<Conv2dAttrs>();
  a->stride_h = strides[0], a->stride_w = strides[1], a->dilation_h = dilations[0], a->dilation_w = dilations[1];
  a->pad_h = pads[0], a->pad_w = pads[1];
  a->groups = integer("group", 1);
  if (a->groups < 1 || a->groups > kMaxGroups) fail("group ", a->groups, ", expected 1 to ", kMaxGroups);
  Id y = emit("conv2d", a, {x, parameter(1, transpose(w, kToNhwc))});
  result(has_input(2) ? emit("add", nullptr, {y, channels(2, shape(y).back())}) : y);
}

void Importer::batch_norm() {
  if (integer("training_mode", 0)) fail("training_mode 1, expected an exported inference model");
  Id x = value(input(0));
  int64_t c = shape(x).back();
  auto a = std::make_shared<BatchNormAttrs>();
  a->eps = shortest(real("epsilon", 1e-5f));
  if (!(a->eps >= 0 && a->eps < 1)) fail("epsilon ", a->eps, ", expected a small positive number");
  Id gamma = channels(1, c), beta = channels(2, c), mean = channels(3, c, Value::Kind::buffer), var = channels(4, c, Value::Kind::buffer);
  result(emit("batch_norm", a, {x, gamma, beta, mean, var}));
}
// 1e-5f means 1e-5: the double of the fewest digits that is this float.
double Importer::shortest(float v) {
  char text[32];
  double wide = v;
  std::from_chars(text, std::to_chars(text, text + sizeof text, v).ptr, wide);
  return wide;
}

void Importer::prelu() {
  Id x = value(input(0));
  int64_t c = shape(x).back();
  Tensor slope = weights(1);
  if (slope.numel() == 1) slope = Tensor::full({c}, slope.item<double>());
  // [C] is not what the specification has for images, but what MXNet writes.
  const bool image = shape(x).rank() == 4;
  const Shape& s = slope.shape();
  if (s != Shape{c} && s != (image ? Shape{1, c, 1, 1} : Shape{1, c}) && !(image && s == Shape{c, 1, 1}))
    fail("slope ", s, ", expected one number for each of ", c, " channels, ", image ? "[C,1,1]" : "[C]");
  result(emit("prelu", nullptr, {x, parameter(1, slope.view({c}))}));
}

void Importer::add() { binary("add"); }
void Importer::sub() { binary("sub"); }
void Importer::mul() { binary("mul"); }
void Importer::div() { binary("div"); }
void Importer::binary(const char* op) {
  Id in[2];
  for (int i : {0, 1}) in[i] = input(i).constant ? -1 : value(input(i));
  if (in[0] < 0 && in[1] < 0) fail("both inputs are constants");
  for (int i : {0, 1})
    if (in[i] < 0) in[i] = parameter(i, broadcastable(i, shape(in[1 - i])));
  const Shape &a = shape(in[0]), &b = shape(in[1]);
  // Between computed values: the same shape, or one number per image and channel (squeeze and excitation).
  auto per_channel = [](const Shape& s, const Shape& image) { return s == Shape{image[0], 1, 1, image.back()} && image.rank() == 4; };
  bool computed = !input(0).constant && !input(1).constant;
  if (computed && !(a == b || per_channel(a, b) || per_channel(b, a))) fail("shapes ", a, " and ", b, " are not supported together");
  result(emit(op, nullptr, {in[0], in[1]}));
}
// Constant i, aligned as numpy does with a value of our shape `to`, in our axis order, leading ones removed.
Tensor Importer::broadcastable(int i, const Shape& to) {
  Tensor t = weights(i);
  if (t.numel() == 1) return t.view({1});
  Shape aligned;
  for (int k = t.shape().rank(); k < to.rank(); ++k) aligned.push_back(1);
  for (int64_t extent : t.shape()) aligned.push_back(extent);
  if (aligned.rank() != to.rank()) fail("input ", i, " is ", t.shape(), ", expected rank ", to.rank(), " at most");
  t = t.view(aligned);
  if (to.rank() == 4) t = transpose(t, kToNhwc);
  for (int k = 0; k < to.rank(); ++k)
    if (t.shape()[k] != 1 && t.shape()[k] != to[k]) fail("input ", i, " does not broadcast to the other input");
  int first = 0;
  while (t.shape()[first] == 1) ++first;
  return t.view(Shape(t.shape().begin() + first, t.shape().end()));
}

void Importer::gemm() {
  if (real("alpha", 1) != 1 || real("beta", 1) != 1 || integer("transA", 0) != 0) fail("expected alpha 1, beta 1, transA 0");
  Id y = product(integer("transB", 0) != 0);
  result(has_input(2) ? emit("add", nullptr, {y, gemm_bias(shape(y).back())}) : y);
}
Id Importer::gemm_bias(int64_t outputs) {
  Tensor t = weights(2);
  if (t.numel() == 1) return parameter(2, t.view({1}));
  if (t.shape().back() != outputs) fail("bias ", t.shape(), ", expected one number for each of ", outputs, " outputs");
  return channels(2, outputs);
}
void Importer::matmul() { result(product(false)); }
// Weights are kept as O,I (b transposed), columns in the order of our flattened images.
Id Importer::product(bool transposed) {
  Operand& x = input(0);
  if (x.constant || onnx_shape(x).size() != 2) fail("expected input 0 to be a computed matrix");
  Tensor w = weights(1);
  if (w.shape().rank() != 2) fail("weights ", w.shape(), ", expected a matrix");
  if (!transposed) w = transpose(w, {1, 0});
  int64_t columns = onnx_shape(x)[1];
  if (w.shape()[1] != columns) fail("weights ", w.shape(), ", expected ", columns, " inputs");
  Id in = x.id;
  if (x.flat) {
    Shape s = shape(x.id);
    w = transpose(w.view({w.shape()[0], s[3], s[1], s[2]}), kToNhwc).view(w.shape());
    in = emit("reshape", shape_attrs({0, -1}), {x.id});
  }
  auto a = std::make_shared<MatmulAttrs>();
  a->tb = 1;
  return emit("matmul", a, {in, parameter(1, w)});
}

void Importer::flatten_node() {
  const Operand& x = input(0);
  const int64_t axis = integer("axis", 1), rank = x.constant ? 0 : static_cast<int64_t>(onnx_shape(x).size());
  if (axis != 1 && axis != 1 - rank) fail("axis ", axis, ", expected 1");
  flatten(x);
}
void Importer::flatten(const Operand& o) {
  if (o.constant) fail("expected a computed value, found a constant");
  const Shape& s = shape(o.id);
  if (o.flat || s.rank() == 2)
    result(o);
  else if (s[1] * s[2] == 1)
    result(emit("reshape", shape_attrs({0, -1}), {o.id}));
  else
    result(Operand{.id = o.id, .flat = true});
}
// The target with its zeros (as before) and its -1 (what is left) filled in; unchanged if they cannot be.
std::vector<int64_t> Importer::resolved(std::vector<int64_t> to, const std::vector<int64_t>& from) {
  const int64_t total = std::accumulate(from.begin(), from.end(), int64_t{1}, std::multiplies<>());
  int64_t known = 1, unknown = -1;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i] == 0 && i < from.size()) to[i] = from[i];
    if (to[i] == -1)
      unknown = static_cast<int64_t>(i);
    else if (to[i] > 0 && to[i] <= total / known)
      known *= to[i];
  }
  if (unknown >= 0) to[static_cast<size_t>(unknown)] = total / known;
  return to;
}

// Flattening, and what a channel shuffle needs: channels seen as groups of channels, and back.
void Importer::reshape() {
  const Operand& x = input(0);
  if (x.constant) fail("expected a computed value, found a constant");
  const std::vector<int64_t> from = onnx_shape(x), target = integers(1), to = resolved(target, from);
  const auto pixels = [](const std::vector<int64_t>& s) { return std::pair(s[s.size() - 2], s.back()); };
  const auto groups = [&](const std::vector<int64_t>& image, const std::vector<int64_t>& split) {
    return image.size() == 4 && split.size() == 5 && image[0] == split[0] && pixels(image) == pixels(split) && split[2] > 0 &&
           image[1] % split[2] == 0 && image[1] / split[2] == split[1];
  };
  const bool matrix =
      to.size() == 2 && to[0] == from[0] && to[1] == std::accumulate(from.begin() + 1, from.end(), int64_t{1}, std::multiplies<>());
  if (to == from)
    result(x);
  else if (matrix && from.size() != 5)
    flatten(x);
  else if (groups(from, to))
    result(emit("reshape", shape_attrs({0, to[3], to[4], to[1], to[2]}), {x.id}));
  else if (groups(to, from))
    result(emit("reshape", shape_attrs({0, to[2], to[3], to[1]}), {x.id}));
  else
    fail("from ", list(from), " to ", brief(list(target)), ", expected [N,-1], or channels in groups");
}

void Importer::concat() {
  std::vector<Id> in;
  for (int i = 0; i < node_->input_size(); ++i) in.push_back(value(input(i)));
  if (in.empty()) fail("has no input");
  auto a = std::make_shared<ConcatAttrs>();
  a->axis = our_axis(integer("axis", 1), in[0]);
  result(in.size() == 1 ? in[0] : emit("concat", a, in));
}

// The indices [begin, end) of an axis of ours.
Id Importer::part(Id x, int axis, int64_t begin, int64_t end) {
  if (axis == 0) fail("expected the batch to stay whole");
  auto a = std::make_shared<SliceAttrs>();
  a->axis = axis, a->begin = begin, a->end = end;
  return emit("slice", a, {x});
}

// The sizes are an attribute until opset 12, an input from 13 on, and equal (the last one perhaps smaller) where there are none.
void Importer::split() {
  const Id x = value(input(0));
  const int axis = our_axis(integer("axis", 0), x), parts = node_->output_size();
  const int64_t extent = shape(x)[axis];
  std::vector<int64_t> sizes(static_cast<size_t>(parts), (extent + parts - 1) / parts);
  sizes.back() = extent - (parts - 1) * sizes.back();
  if (has_input(1))
    sizes = integers(1);
  else if (auto* a = attribute("split"))
    sizes.assign(a->ints().begin(), a->ints().end());
  int64_t rest = extent;
  for (int64_t size : sizes) rest = size > 0 && rest >= size ? rest - size : -1;
  if (rest != 0 || static_cast<int>(sizes.size()) != parts)
    fail("sizes ", brief(list(sizes)), ", expected ", parts, " that are positive and together ", extent);
  int64_t begin = 0;
  for (int i = 0; i < parts; begin += sizes[static_cast<size_t>(i++)])
    if (!node_->output(i).empty()) result(part(x, axis, begin, begin + sizes[static_cast<size_t>(i)]), i);
}

// Bounds are attributes until opset 9, inputs from 10 on. Negative ones count from the end, those beyond it mean the end.
void Importer::slice_node() {
  Id x = value(input(0));
  std::vector<int64_t> bounds[2], axes;
  for (int i : {0, 1}) {
    const char* names[] = {"starts", "ends"};
    if (auto* a = attribute(names[i]))
      bounds[i].assign(a->ints().begin(), a->ints().end());
    else
      bounds[i] = integers(1 + i);
  }
  if (auto* a = attribute("axes"))
    axes.assign(a->ints().begin(), a->ints().end());
  else if (has_input(3))
    axes = integers(3);
  else
    for (size_t i = 0; i < bounds[0].size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (bounds[0].size() != axes.size() || bounds[1].size() != axes.size())
    fail(bounds[0].size(), " starts, ", bounds[1].size(), " ends and ", axes.size(), " axes, expected as many of each");
  if (has_input(4))
    for (int64_t step : integers(4))
      if (step != 1) fail("step ", step, ", expected 1");
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = our_axis(axes[i], x);
    const int64_t extent = shape(x)[axis];
    const auto index = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + extent : v, 0, extent); };
    const int64_t begin = index(bounds[0][i]), end = index(bounds[1][i]);
    if (begin >= end) fail("[", bounds[0][i], ", ", bounds[1][i], ") of ", extent, ", expected at least one index");
    if (end - begin < extent) x = part(x, axis, begin, end);
  }
  result(x);
}

void Importer::max_pool() {
  check_padding();
  const Id x = value(input(0));
  if (integer("ceil_mode", 0) != 0 || integer("storage_order", 0) != 0 ||
      integers("dilations", {1, 1}, 1, kMaxExtent) != std::vector<int64_t>{1, 1})
    fail("expected ceil_mode 0, storage_order 0, dilations 1");
  const auto kernel = integers("kernel_shape", {0, 0}, 1, kMaxExtent), strides = integers("strides", {1, 1}, 1, kMaxExtent),
             pads = symmetric_pads();
  if (kernel[0] < 1) fail("expected an attribute kernel_shape");
  if (node_->output_size() > 1 && !node_->output(1).empty()) fail("expected the values alone, without their places");
  auto a = std::make_shared<PoolAttrs>();
  a->kernel_h = kernel[0], a->kernel_w = kernel[1], a->stride_h = strides[0], a->stride_w = strides[1];
  a->pad_h = pads[0], a->pad_w = pads[1];
  result(emit("max_pool", a, {x}));
}

// Ours is ONNX's seen through the two layouts: NHWC -> NCHW, perm, NCHW -> NHWC.
void Importer::transpose_node() {
  Operand& operand = input(0);
  const bool grouped = !operand.constant && !operand.flat && shape(operand.id).rank() == 5;
  const Id x = grouped ? operand.id : value(operand);
  const int rank = shape(x).rank();
  if (rank < 4) fail("expected an image");
  std::vector<int64_t> reversed;
  for (int64_t axis = rank; axis > 0;) reversed.push_back(--axis);
  const auto perm = integers("perm", reversed, 0, rank - 1);
  Shape order;
  for (int64_t axis : grouped ? kGroupedToNhwc : kToNhwc)
    order.push_back((grouped ? kGroupedToNhwc : kToNchw)[static_cast<int>(perm[static_cast<size_t>(axis)])]);
  if (order[0] != 0) fail("perm ", list(perm), ", expected the batch to stay first");
  result(emit("transpose", shape_attrs(order), {x}));
}

void Importer::global_average_pool() { average(1); }
void Importer::average(int64_t keep) {
  Id x = value(input(0));
  if (shape(x).rank() != 4) fail("expected an image");
  auto reduce = std::make_shared<ReduceAttrs>();
  reduce->first = 1, reduce->count = 2, reduce->keep = keep;
  auto scale = std::make_shared<ScalarAttrs>();
  scale->a = 1.0 / static_cast<double>(shape(x)[1] * shape(x)[2]);
  result(emit("mul_scalar", scale, {emit("sum", reduce, {x})}));
}

void Importer::reduce_mean() {
  const Id x = value(input(0));
  std::vector<int64_t> axes;
  if (has_input(1))
    axes = integers(1);  // from opset 18 on
  else if (auto* a = attribute("axes"))
    axes.assign(a->ints().begin(), a->ints().end());
  std::set<int> ours;
  for (int64_t axis : axes) ours.insert(our_axis(axis, x));
  if (shape(x).rank() != 4 || ours != std::set<int>{1, 2}) fail("axes ", brief(list(axes)), ", expected height and width of an image");
  average(integer("keepdims", 1) != 0);
}

void Importer::relu() { result(emit("relu", nullptr, {value(input(0))})); }
void Importer::sigmoid() { result(emit("sigmoid", nullptr, {value(input(0))})); }
void Importer::identity() { result(Operand(input(0))); }
void Importer::constant_node() {
  auto* a = attribute("value");
  if (!a || !a->has_t()) fail("expected an attribute 'value' with a tensor");
  result(Operand{.constant = &a->t()});
}

const std::map<std::string, Importer::Rule>& Importer::rules() {
  static const std::map<std::string, Rule> table = {
      {"Add", &Importer::add},
      {"BatchNormalization", &Importer::batch_norm},
      {"Concat", &Importer::concat},
      {"Constant", &Importer::constant_node},
      {"Conv", &Importer::conv},
      {"Div", &Importer::div},
      {"Dropout", &Importer::identity},
      {"Flatten", &Importer::flatten_node},
      {"Gemm", &Importer::gemm},
      {"GlobalAveragePool", &Importer::global_average_pool},
      {"Identity", &Importer::identity},
      {"MatMul", &Importer::matmul},
      {"MaxPool", &Importer::max_pool},
      {"Mul", &Importer::mul},
      {"PRelu", &Importer::prelu},
      {"Relu", &Importer::relu},
      {"ReduceMean", &Importer::reduce_mean},
      {"Reshape", &Importer::reshape},
      {"Sigmoid", &Importer::sigmoid},
      {"Slice", &Importer::slice_node},
      {"Split", &Importer::split},
      {"Sub", &Importer::sub},
      {"Transpose", &Importer::transpose_node},
  };
  return table;
}

namespace {
Model parse(std::string_view bytes, const std::string& file, const std::string& path) {
  CHECK(bytes.size() <= INT_MAX, file, ": ", bytes.size(), " bytes, expected at most 2 GB");
  onnx::ModelProto proto;
  CHECK(proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())), file, ": not a protobuf message, expected an ONNX model");
  NoGrad quiet;
  return Importer(proto, file, bytes.size(), path).run();
}
}  // namespace

Model parse_onnx(std::string_view bytes, const std::string& file) { return parse(bytes, file, ""); }

Model import_onnx(const std::string& path) { return parse(load_bytes(path), path, path); }

}  // namespace vitrine::io
