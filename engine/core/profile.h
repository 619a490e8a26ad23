// Where the time goes: while a profile is set, apply() books every kernel call of this thread under its operator's name.
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace vitrine {

struct OpCost {
  int64_t calls = 0, bytes = 0;  // bytes of all inputs and outputs: what a kernel must read and write at least
  double seconds = 0;
};
using Profile = std::map<std::string, OpCost>;

void set_profile(Profile*);                 // null: none
std::string profile_table(const Profile&);  // a line per operator, the dearest first

}  // namespace vitrine
