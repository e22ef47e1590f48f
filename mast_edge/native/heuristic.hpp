// SMAC's built-in heuristic: what an agent does when nobody decides for it (smac.md 7).
#pragma once

#include <cstdint>

#include "interface.hpp"
#include "world.hpp"

namespace mast {

// The action of one agent, 0 when it has no target and keeps doing what it did. Its target is chosen anew where it
// must be. The mask does not bind it, unless the option heuristic_rest does.
std::int64_t choose_by_heuristic(const Interface &face, const World &world, Unit *units, int agent);

// Whether a unit's kept target is one that it could have chosen.
bool is_sound_choice(const Interface &face, int unit, int target);

}  // namespace mast
