// One launch for elementwise work over many tensors: their places travel in the kernel's arguments (of which there may be 32 KB).
#pragma once
#include <array>
#include <vector>

#include "engine/cuda/launch.cuh"

namespace vitrine::cuda {

inline constexpr int kMany = 256;  // tensors of a launch

// Up to kMany groups of kArrays tensors with equally many elements, cut into pieces.
template <class T, int kArrays>
struct Many {
  int count = 0, piece = 0;
  T* array[kArrays][kMany];
  int64_t numel[kMany];
  int first[kMany + 1];  // of each group's pieces among all

  __device__ int owner(int p) const {  // the last group whose first piece is not behind p
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      first[middle] <= p ? low = middle : high = middle - 1;
    }
    return low;
  }
};

template <int kArrays>
using Groups = std::vector<std::array<Tensor, kArrays>>;

// Those from `begin` on that a launch takes.
template <class T, int kArrays>
Many<T, kArrays> many(const Groups<kArrays>& groups, size_t begin, int piece) {
  static_assert(sizeof(Many<T, kArrays>) < 32'000);
  Many<T, kArrays> m;
  m.count = static_cast<int>(std::min<size_t>(kMany, groups.size() - begin)), m.piece = piece, m.first[0] = 0;
  for (int k = 0; k < m.count; ++k) {
    const std::array<Tensor, kArrays>& tensors = groups[begin + k];
    for (int a = 0; a < kArrays; ++a) m.array[a][k] = ptr<T>(tensors[a]);
    m.numel[k] = tensors[0].numel();
    const int64_t next = m.first[k] + (m.numel[k] + piece - 1) / piece;
    CHECK(next < int64_t{1} << 31, "cuda: ", next, " pieces exceed a launch");
    m.first[k + 1] = static_cast<int>(next);
  }
  return m;
}

// f(m, group, piece, begin, end) by one block for each piece: elements [begin, end) of the group's tensors.
template <class T, int kArrays, class F>
void each_piece(const Many<T, kArrays>& m, F f) {
  each_block(m.first[m.count], [=] __device__(int64_t p) {
    const int k = m.owner(static_cast<int>(p));
    const int64_t begin = (p - m.first[k]) * m.piece, end = begin + m.piece < m.numel[k] ? begin + m.piece : m.numel[k];
    f(m, k, p, begin, end);
  });
}

// f(m, group, i) for every element of every group.
template <class T, int kArrays, class F>
void each_of_many(const Groups<kArrays>& groups, F f) {
  for (size_t begin = 0; begin < groups.size(); begin += kMany)
    each_piece(many<T, kArrays>(groups, begin, 16 * kBlock),
               [=] __device__(const Many<T, kArrays>& m, int k, int64_t, int64_t from, int64_t to) {
                 for (int64_t i = from + threadIdx.x; i < to; i += kBlock) f(m, k, i);
               });
}

}  // namespace vitrine::cuda
