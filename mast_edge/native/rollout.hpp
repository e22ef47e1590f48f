// One episode in every battle of a batch: acting, playing and recording without a return to Python.
#pragma once

#include <cstdint>

#include "actor.hpp"
#include "simulator.hpp"

namespace mast_edge {

// What was seen and done: row t of every array holds all environments at time t. At least limit + 1 rows.
struct Record {
    float *obs, *state;      // (rows, E, N, O), (rows, E, S)
    std::uint8_t *avail;     // (rows, E, N, A)
    std::uint8_t *actions;   // (rows, E, N), what the agents chose
    float *reward;           // (rows, E)
};

// How each battle ended, (E) each.
struct Endings {
    std::int64_t *length;
    bool *timed_out, *won;
};

struct Times {
    double env_seconds, act_seconds;
};

// Plays on from what `live` (which: null) shows after a reset until every battle is over.
//   live     the environment's buffers, kept up to date
//   played   (E, N) out: what the agents did last, see Simulator::step
Times play_episodes(mast::Simulator &simulator, BatchActor &actor, double epsilon, const BitGenerator *random,
                    mast::Views live, const Record &record, const Endings &endings, std::int64_t *played);

}  // namespace mast_edge
