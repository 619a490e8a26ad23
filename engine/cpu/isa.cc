#include "engine/cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "engine/core/error.h"

namespace vitrine::cpu {
namespace {

Isa initial() {
  const char* asked = std::getenv("VITRINE_ISA");
  if (!asked || !*asked) return best_isa();
  for (Isa level : {Isa::plain, Isa::avx2, Isa::avx512, Isa::vnni})
    if (std::string(asked) == name(level)) return std::min(level, best_isa());
  throw Error(cat("VITRINE_ISA=", asked, ": expected plain, avx2, avx512 or vnni"));
}

Isa& current() {
  static Isa level = initial();
  return level;
}

}  // namespace

Isa best_isa() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::plain;
  bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512vl");
  if (!wide) return Isa::avx2;
  return __builtin_cpu_supports("avx512vnni") ? Isa::vnni : Isa::avx512;
}

Isa isa() { return current(); }
void set_isa(Isa level) { current() = std::min(level, best_isa()); }

const char* name(Isa level) {
  switch (level) {
    case Isa::plain:
      return "plain";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    default:
      return "vnni";
  }
}

}  // namespace vitrine::cpu
