// The interface layer fed with given unit tables instead of the simulator's physics, for conformance checks.
#pragma once

#include <cstdint>
#include <vector>

#include "interface.hpp"

namespace mast {

class Probe {
  public:
    static constexpr int kColumns = 6;    // x, y, health, shield, energy, cooldown

    explicit Probe(Interface face);

    // Starts an episode on the given tables [nA * 6], [nE * 6].
    void begin(const float *allies, const float *enemies);
    // Sends actions; the tables are what the game shows after them.
    Outcome step(const std::int64_t *actions, const float *allies, const float *enemies);
    // Shows an arbitrary moment: tables, last actions (-1 none) and steps done.
    void pose(const float *allies, const float *enemies, const std::int64_t *last_actions, int step);
    // Fills what agents see of the present moment.
    void observe(float *obs, float *state, std::uint8_t *avail, std::uint8_t *visible) const;
    // Per agent: ability id, target kind (0 none, 1 point, 2 agent, 3 enemy), x or index, y.
    void orders(const std::int64_t *actions, float *out) const;

    const Interface &face() const { return face_; }
    const Battle &battle() const { return battle_; }

  private:
    void load(const float *allies, const float *enemies);

    Interface face_;
    Battle battle_{};
    std::vector<Unit> units_;
};

}  // namespace mast
