// Threads that work on several phases of one kernel and wait for each other between them.
#pragma once
#include "common.h"

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
    on_threads(
        threads,
        [](void* data, int index, int total) {
            Job& mine = *static_cast<Job*>(data);
            mine.body(Member{index, total, mine.barrier});
        },
        &job);
}
