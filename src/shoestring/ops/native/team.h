// Threads that work on several phases of one call and wait for each other between them: to go back to the pool after
// each phase costs several times as much as a short one takes.
#pragma once
#include <sched.h>

#include <atomic>

#include "common.h"

class Barrier {
    std::atomic<int> here_{0}, turn_{0};

  public:
    void wait(int total) {
        if (total == 1) return;
        const int turn = turn_.load(std::memory_order_relaxed);
        if (here_.fetch_add(1, std::memory_order_acq_rel) + 1 == total) {
            here_.store(0, std::memory_order_relaxed);
            turn_.store(turn + 1, std::memory_order_release);
            return;
        }
        // a while of its own time, then others' on a machine that has other work
        for (int tries = 0; turn_.load(std::memory_order_acquire) == turn; tries++) {
            if (tries > 200) sched_yield();
#if defined(__x86_64__)
            else __builtin_ia32_pause();
#endif
        }
    }
};

// One of the threads, and its part of `count` things
struct Member {
    int index, total;
    Barrier& barrier;
    void wait() const { barrier.wait(total); }
    template <class Body>
    void share(int64_t count, const Body& body) const {
        const int64_t begin = count * index / total, end = count * (index + 1) / total;
        if (begin < end) run_part(body, begin, end);
    }
};

// body(member) on every thread
template <class Body>
static inline void together(int threads, const Body& body) {
    struct Job {
        const Body& body;
        Barrier barrier;
    } job{body, {}};
    if (threads <= 1 || pool.parallel == nullptr) return body(Member{0, 1, job.barrier});
    pool.parallel(
        [](void* data) {
            Job& mine = *static_cast<Job*>(data);
            mine.body(Member{pool.thread_num(), pool.num_threads(), mine.barrier});
        },
        &job, unsigned(threads), 0u);
}
