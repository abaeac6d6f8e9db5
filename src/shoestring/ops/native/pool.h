// Threads: the pool that torch has started, a barrier, and a crew that stays together through a call.
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

// The OpenMP pool that torch has already started, entered through the ABI of libgomp (libomp and libiomp5 have it
// too): a second pool would spin on the same cores.
struct Pool {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
    int (*thread_num)();
    int (*num_threads)();
};
extern Pool pool;

// All wait until all are there. A thread that waits watches for a while and then sleeps: where other work wants the
// processors, or two of the threads share one, watching takes the time of the thread that is waited for.
class Barrier {
    static constexpr int64_t WATCH_NS = 20000;
    static constexpr int SLEEP = 0 | 128, WAKE = 1 | 128;  // futex(2), of one process; its header isn't everywhere
    std::atomic<int> here_{0}, turn_{0}, asleep_{0};

    static int64_t now() {
        timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
    }
    void futex(int what, int value) { syscall(SYS_futex, &turn_, what, value, nullptr, nullptr, 0); }
    bool watch(int turn) const {
        int64_t until = 0;
        for (int tries = 1; turn_.load(std::memory_order_acquire) == turn; tries++) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
            if (tries % 64) continue;
            const int64_t moment = now();
            if (!until) until = moment + WATCH_NS;
            if (moment > until) return false;
        }
        return true;
    }

  public:
    void wait(int total) {
        if (total == 1) return;
        const int turn = turn_.load(std::memory_order_relaxed);
        if (here_.fetch_add(1, std::memory_order_acq_rel) + 1 == total) {
            here_.store(0, std::memory_order_relaxed);
            turn_.store(turn + 1);
            if (asleep_.load()) futex(WAKE, INT_MAX);
        } else if (!watch(turn)) {
            asleep_.fetch_add(1);  // before the kernel looks at turn_: whoever changes it later sees this
            while (turn_.load() == turn) futex(SLEEP, turn);
            asleep_.fetch_sub(1);
        }
    }
};

// The pool's threads through one call of many kernels: what each would have split among the pool goes to these. A way
// into the pool and out of it for each kernel costs more than a short one takes, and its barriers watch for
// milliseconds: beside two busy programs a step of 30 layers took 30 times as long as with one thread.
class Crew {
    Barrier barrier_;
    void (*work_)(void*, int, int) = nullptr;  // data, index, total
    void* data_ = nullptr;
    int wanted_ = 0, total_ = 1;

    void help(int index, int total) {
        while (true) {
            barrier_.wait(total);
            if (work_ == nullptr) return;
            if (index < wanted_) work_(data_, index, wanted_);
            barrier_.wait(total);
        }
    }

  public:
    static thread_local Crew* own;  // of the thread that leads one

    // work(data, index, threads) for each index below `threads`, which is at most the crew's
    void run(int threads, void (*work)(void*, int, int), void* data) {
        work_ = work, data_ = data, wanted_ = threads;
        barrier_.wait(total_);
        work(data, 0, threads);
        barrier_.wait(total_);
    }
    int total() const { return total_; }

    // body() with a crew of the pool's threads, led by this one
    template <class Body>
    static void lead(int threads, const Body& body) {
        if (threads <= 1 || pool.parallel == nullptr || own != nullptr) return body();
        struct Job {
            const Body& body;
            Crew crew;
        } job{body, {}};
        pool.parallel(
            [](void* data) {
                Job& mine = *static_cast<Job*>(data);
                const int index = pool.thread_num(), total = pool.num_threads();
                if (index) return mine.crew.help(index, total);
                mine.crew.total_ = total;
                own = &mine.crew;
                mine.body();
                own = nullptr;
                mine.crew.work_ = nullptr;
                mine.crew.barrier_.wait(total);
            },
            &job, unsigned(threads), 0u);
    }
};

// work(data, index, total) on up to `threads` threads, this one among them
static inline void on_threads(int threads, void (*work)(void*, int, int), void* data) {
    if (Crew::own && threads > Crew::own->total()) threads = Crew::own->total();
    if (threads <= 1 || pool.parallel == nullptr) return work(data, 0, 1);
    if (Crew::own) return Crew::own->run(threads, work, data);
    struct Job {
        void (*work)(void*, int, int);
        void* data;
    } job{work, data};
    pool.parallel(
        [](void* one) {
            const Job& mine = *static_cast<Job*>(one);
            mine.work(mine.data, pool.thread_num(), pool.num_threads());
        },
        &job, unsigned(threads), 0u);
}
