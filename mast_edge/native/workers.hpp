// Threads that share the environments of a batch. Who plays which one does not matter: environments share nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <unistd.h>
#endif

namespace mast {

class Workers {
  public:
    // The calling thread is one of them: `threads` - 1 are started.
    explicit Workers(int threads) : crew_(new Crew), home_(process()) {
        for (int t = 1; t < threads; ++t) crew_->helpers.emplace_back([this] { help(); });
    }
    Workers(const Workers &) = delete;
    Workers &operator=(const Workers &) = delete;
    ~Workers() {
        if (process() != home_) return;    // nobody is left to join, nor to release what waits for the lost
        {
            const std::lock_guard lock(crew_->mutex);
            stopping_ = true;
        }
        crew_->wake.notify_all();
        for (std::thread &helper : crew_->helpers) helper.join();
        delete crew_;
    }

    // Calls job(i) once for every i in [0, n), and returns when all have been done. Helpers that wake up late are
    // not waited for; a forked process has none and does it all itself. `job` must not throw.
    template <typename Job>
    void run(int n, const Job &job) {
        if (crew_->helpers.empty() || process() != home_) {
            for (int i = 0; i < n; ++i) job(i);
            return;
        }
        // Nobody takes an item while the job changes: a late helper might see the new job's length with the old round.
        const std::uint64_t last = ticket_.load() & ~std::uint64_t{0xFFFFFFFFu};
        ticket_.store(last | kClosed);
        call_ = [](const void *context, int i) { (*static_cast<const Job *>(context))(i); };
        context_ = &job;
        n_.store(n, std::memory_order_release);
        done_.store(0, std::memory_order_relaxed);
        const std::uint32_t round = static_cast<std::uint32_t>(last >> 32) + 1;
        {
            const std::lock_guard lock(crew_->mutex);
            ticket_.store(std::uint64_t{round} << 32, std::memory_order_release);
        }
        crew_->wake.notify_all();
        work(round);
        while (done_.load(std::memory_order_acquire) < n) std::this_thread::yield();
    }

  private:
    // What must not be touched in a forked process: a lost helper may hold the lock or be counted as waiting.
    struct Crew {
        std::vector<std::thread> helpers;
        std::mutex mutex;
        std::condition_variable wake;
    };

    static long process() {
#ifdef _WIN32
        return 0;    // no forks
#else
        return static_cast<long>(getpid());
#endif
    }

    // How long a helper looks out for the next round before it goes to sleep: longer than a policy takes to choose
    // actions, since waking up costs more than a round of small battles.
    static constexpr std::chrono::microseconds kPatience{1000};

    static constexpr std::uint64_t kClosed = 0x7FFFFFFFu;    // an item beyond every length

    // Takes items of one round until none is left. A ticket holds the round and the next item, so that an item is
    // only ever taken together with the round it belongs to, while `run` waits for it.
    void work(std::uint32_t round) {
        for (;;) {
            std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
            do {
                const int item = static_cast<int>(ticket & 0xFFFFFFFFu);
                if (static_cast<std::uint32_t>(ticket >> 32) != round || item >= n_.load(std::memory_order_acquire))
                    return;
            } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
            call_(context_, static_cast<int>(ticket & 0xFFFFFFFFu));
            done_.fetch_add(1, std::memory_order_release);
        }
    }

    void help() {
        std::uint32_t seen = 0;
        const auto round = [this] { return static_cast<std::uint32_t>(ticket_.load(std::memory_order_acquire) >> 32); };
        while (!stopping_.load()) {
            const auto tired = std::chrono::steady_clock::now() + kPatience;
            while (round() == seen && std::chrono::steady_clock::now() < tired) {}
            if (round() == seen) {
                std::unique_lock lock(crew_->mutex);
                crew_->wake.wait(lock, [&] { return stopping_.load() || round() != seen; });
            }
            seen = round();
            work(seen);
        }
    }

    Crew *const crew_;
    const long home_;    // the process whose threads they are
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> ticket_{0};
    std::atomic<int> n_{0}, done_{0};
    void (*call_)(const void *, int) = nullptr;
    const void *context_ = nullptr;
};

}  // namespace mast
