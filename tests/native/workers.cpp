// Rounds of two and of twelve items in turn; says how many were not done exactly once. Arguments: threads, seconds.
#include "workers.hpp"

#include <cstdio>
#include <cstdlib>

int main(int, char **argv) {
    mast::Workers workers(std::atoi(argv[1]));
    std::atomic<int> done[12];
    long wrong = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
    for (long round = 0; std::chrono::steady_clock::now() < end; ++round) {
        const int n = round % 2 ? 2 : 12;
        for (auto &item : done) item = 0;
        workers.run(n, [&](int i) {
            if (i < 0 || i >= 12) std::abort();
            done[i]++;
        });
        for (int i = 0; i < 12; ++i) wrong += done[i] != (i < n);
    }
    std::printf("%ld\n", wrong);
}
