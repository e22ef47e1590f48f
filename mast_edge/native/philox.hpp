// Philox 4x32-10: a counter-based generator, so that no draw depends on any other having been made.
//
// Source: smac.md 9.1 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once

#include <array>
#include <cstdint>

namespace mast {

using PhiloxBlock = std::array<std::uint32_t, 4>;

inline PhiloxBlock philox(PhiloxBlock counter, std::uint32_t key0, std::uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<std::uint32_t>(a)};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// What a draw is for; part of the counter.
enum class Purpose : std::uint32_t { spawn = 0, weapon_delay = 1, goal = 2, sidestep = 3 };

// The stream of one environment. A draw is word 0 of the block at
// (episode, loop, purpose * 65536 + unit, draw number).
struct Stream {
    std::uint64_t seed;
    std::uint32_t episode;
    std::uint32_t loop;

    // Uniform integer in [0, n).
    std::uint32_t below(std::uint32_t n, Purpose purpose, int unit, std::uint32_t draw) const {
        const std::uint32_t who = static_cast<std::uint32_t>(purpose) * 65536u + static_cast<std::uint32_t>(unit);
        const std::uint32_t word = philox({episode, loop, who, draw}, static_cast<std::uint32_t>(seed),
                                          static_cast<std::uint32_t>(seed >> 32))[0];
        return static_cast<std::uint32_t>((std::uint64_t{word} * n) >> 32);
    }
};

}  // namespace mast
