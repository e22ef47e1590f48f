// The physics of one battle: spawn, orders, one game loop.
#pragma once

#include <cstdint>

#include "philox.hpp"
#include "unit.hpp"
#include "world.hpp"

namespace mast {

// The head of an environment's block of memory; its units follow it. Nothing else belongs to an environment, so
// copying the block saves and restores it exactly.
struct Battle {
    std::uint32_t format;           // World::fingerprint
    std::int32_t n_units;
    std::uint64_t seed;
    std::uint32_t episode;          // number of the present episode
    std::uint32_t loop;             // loops played in it
    std::int32_t step;              // steps played in it
    std::uint32_t begun;            // episodes begun so far
    std::uint32_t battles_won, battles_game, timeouts;
    bool over;                      // no step is possible before the next reset
    bool unused[3];
    double goal_x, goal_y;          // of the enemies' attack-move

    Unit *units() { return reinterpret_cast<Unit *>(this + 1); }
    const Unit *units() const { return reinterpret_cast<const Unit *>(this + 1); }
    Stream stream() const { return {seed, episode, loop}; }
};

struct Order {
    OrderKind kind;
    int target;     // unit number, -1 none
    double x, y;    // of a move
};

// Starts the next episode: places the units, gives the enemies their order (smac.md 9.9).
void spawn(const World &world, Battle &battle);

// Gives one unit an order, which replaces its present one unless it is equal to it or refused (smac.md 9.3).
void give_order(const World &world, Battle &battle, int unit, const Order &order);

// Plays a number of game loops (smac.md 9.2).
void advance(const World &world, Battle &battle, int loops);

}  // namespace mast
