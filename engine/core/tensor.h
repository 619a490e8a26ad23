// Tensor: a typed, shaped view of a reference-counted Buffer on one device.
// Always contiguous and row-major; images are N,H,W,C; convolution weights are O,kh,kw,I. A view shares the bytes (reshape, detach).
// A Tensor is a handle: copying it copies a pointer. Kernels write only tensors that apply() has just made; everything that changes an
// existing tensor (optimiser, running statistics) goes through mutate(), which bumps the buffer's version, so that autograd notices.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/device.h"
#include "engine/core/dtype.h"
#include "engine/core/shape.h"

namespace vitrine {

struct Meta {
  Shape shape;
  Dtype dtype = Dtype::f32;
  Device device = Device::cpu;
  int64_t numel() const { return shape.numel(); }
  int64_t nbytes() const;  // packed codes are one stream of bits, whatever the shape, and end with a whole byte
  bool operator==(const Meta&) const = default;
};
std::string str(const Meta&);  // "f32[2,3]"

struct Buffer {
  Buffer(Device, int64_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  void* data;
  int64_t bytes;
  Device device;
  uint32_t version = 0;
  std::shared_ptr<void> derived;  // what a kernel made of constant bytes once, in a layout of its own: never saved
};

struct Node;  // engine/core/op.h

class Tensor {
 public:
  Tensor() = default;
  static Tensor empty(Meta);
  static Tensor over(Meta, std::shared_ptr<Buffer>);  // at the start of a buffer that is large enough, which others may use too
  static Tensor zeros(Shape, Dtype = Dtype::f32, Device = Device::cpu);
  static Tensor full(Shape, double value, Dtype = Dtype::f32);
  template <class T>
  static Tensor from(Shape, const std::vector<T>& values);  // dtype of T, on the cpu
  static Tensor scalar(double value, Dtype dtype = Dtype::f32) { return full({}, value, dtype); }

  explicit operator bool() const { return impl_ != nullptr; }
  const Meta& meta() const { return impl_->meta; }
  const Shape& shape() const { return impl_->meta.shape; }
  Dtype dtype() const { return impl_->meta.dtype; }
  Device device() const { return impl_->meta.device; }
  int64_t numel() const { return impl_->meta.numel(); }

  // Elements on the cpu, read-only for everybody but the kernel that fills a new tensor. Error if T is not the dtype or the device is
  // another.
  template <class T>
  T* data() const;
  void* raw() const {
    check_bytes();
    return impl_->buffer->data;
  }  // first byte, on device()
  template <class T = double>
  T item() const;  // the only element
  template <class T = double>
  std::vector<T> values() const;     // host copy, converted
  Buffer& mutate();                  // about to be changed in place: bumps the version
  void assign(const Tensor& other);  // copies the bytes of an equal Meta into this buffer (mutate)
  uint32_t version() const { return impl_->buffer ? impl_->buffer->version : 0; }
  bool shares(const Tensor& other) const { return impl_->buffer == other.impl_->buffer; }
  const std::shared_ptr<Buffer>& buffer() const { return impl_->buffer; }

  Tensor to(Device) const;
  Tensor to(Dtype) const;  // converts on the cpu: rounds to nearest even, saturates integers
  Tensor clone() const;
  Tensor detach() const;     // same bytes, no history
  Tensor view(Shape) const;  // same bytes, no history; numel must agree

  // Autograd's side; see op.h.
  Tensor without_bytes() const;  // Meta and history (unless a leaf, whose identity matters) but no buffer
  bool requires_grad() const { return impl_ && impl_->requires_grad; }
  Tensor& set_requires_grad(bool on = true) {
    impl_->requires_grad = on;
    return *this;
  }
  struct Impl {
    Meta meta;
    std::shared_ptr<Buffer> buffer;
    std::shared_ptr<Node> node;  // the call that made it, when something recorded it
    int output = 0;              // which of the node's outputs
    bool requires_grad = false;
    ~Impl();  // unlinks a long chain of nodes without recursion
  };
  Impl* impl() const { return impl_.get(); }
  const std::shared_ptr<Impl>& handle() const { return impl_; }

 private:
  void check_access(Dtype) const;
  void check_bytes() const { CHECK(impl_ && impl_->buffer, "tensor: no bytes (backward reads what its operator does not save)"); }
  std::shared_ptr<Impl> impl_;
};

// Bytes held by live buffers now and at most since the last reset, per device: for reports and tests.
struct MemoryUse {
  int64_t live = 0, peak = 0;
};
MemoryUse memory_use(Device);
void reset_peak(Device);

}  // namespace vitrine
