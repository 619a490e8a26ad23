// Guard bytes round every cpu buffer, for tests: switch on while no tensor is alive that was made before, and off likewise.
#pragma once
#include <cstdint>

namespace vitrine::cpu {

void set_guard(bool on);
int64_t& guard_damage();  // bytes found overwritten outside buffers when these were freed

}  // namespace vitrine::cpu
