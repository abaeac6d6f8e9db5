// What the kernels share: number types, the thread pool they borrow, and exp.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>

#include "pool.h"

#define API extern "C" __attribute__((visibility("default")))

struct bf16 {
    uint16_t bits;
};

static inline float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline uint32_t to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

static inline float load(const float* p) { return *p; }
static inline float load(const bf16* p) { return from_bits(uint32_t(p->bits) << 16); }
static inline void store(float* p, float value) { *p = value; }
// round to nearest even, as torch does; a NaN must not round up into infinity
static inline void store(bf16* p, float value) {
    const uint32_t bits = to_bits(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    p->bits = uint16_t(value != value ? 0x7fc0u : rounded);
}

// e^x for x <= 88, relative error below 2e-7; exactly 0 below -87 (so -inf gives 0), NaN gives NaN.
// Cephes expf: x = n ln 2 + r, a polynomial for e^r; n is read from the low bits of x / ln 2 + 1.5 * 2^23.
static inline float fast_exp(float x) {
    const float shift = 12582912.0f;
    const float t = x * 1.44269504088896341f + shift;
    const float n = t - shift;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const float value = p * from_bits((to_bits(t) << 23) + 0x3f800000u);
    return x < -87.0f ? 0.0f : value;
}

static inline float sigmoid_of(float g) {
    const float capped = g < -88.0f ? -88.0f : g;  // fast_exp ends at 88
    return 1.0f / (1.0f + fast_exp(-capped));
}

static inline float scale_and_top(float* x, int64_t size, float scale, float top) {
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < size; i++) {
        x[i] *= scale;
        top = x[i] > top ? x[i] : top;
    }
    return top;
}

static inline float exp_and_sum(float* x, int64_t size, float top) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) {
        x[i] = fast_exp(x[i] - top);
        sum += x[i];
    }
    return sum;
}

template <class X>
static inline float dot_of(const X* a, const X* b, int64_t size) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) sum += load(a + i) * load(b + i);
    return sum;
}

// Scratch numbers on a cache line's boundary. Not std::vector: the compiler runs the first few items apart where a
// loop starts off the boundary, so where malloc happens to put the scratch would change the order of a sum.
class Scratch {
    static constexpr auto LINE = std::align_val_t(64);
    float* data_ = nullptr;
    int64_t size_ = 0;

  public:
    explicit Scratch(int64_t size = 0) { grow(size); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { ::operator delete(data_, LINE); }
    float* data() { return data_; }
    void grow(int64_t size) {  // what was in it is lost
        if (size <= size_) return;
        ::operator delete(data_, LINE);
        data_ = static_cast<float*>(::operator new(sizeof(float) * size_t(size), LINE));
        size_ = size;
    }
};

// Room for the numbers that one pass needs at a time, each part on a cache line of its own; asked for in the order given
template <class X>
class Room {
    Scratch room_;
    int64_t used_ = 0;
    static int64_t lines(int64_t numbers) { return (numbers + 31) / 32 * 32; }
    static int64_t sum(std::initializer_list<int64_t> parts) {
        int64_t all = 0;
        for (const int64_t numbers : parts) all += lines(numbers);
        return all;
    }

  public:
    explicit Room(std::initializer_list<int64_t> parts) : room_((sum(parts) * int64_t(sizeof(X)) + 3) / 4) {}
    X* part(int64_t numbers) {
        X* begin = reinterpret_cast<X*>(room_.data()) + used_;
        used_ += lines(numbers);
        return begin;
    }
};

#ifdef __clang__
#define ONE_COPY __attribute__((noinline))
#else
#define ONE_COPY __attribute__((noinline, noclone))
#endif

// Compiled once for each kernel: a second copy may fuse multiplications and additions differently, and results would
// then depend on whether one thread or several were at work.
template <class Body>
ONE_COPY static void run_part(const Body& body, int64_t begin, int64_t end) {
    body(begin, end);
}

// body(begin, end) over [0, count), in one contiguous part for each thread; a part has at least `grain` items
template <class Body>
static inline void split(int64_t count, int threads, int64_t grain, const Body& body) {
    if (count <= 0) return;
    if (count / grain < threads) threads = int(count / grain);
    struct Job {
        const Body& body;
        int64_t count;
    } job{body, count};
    on_threads(
        threads,
        [](void* data, int index, int total) {
            const Job& mine = *static_cast<Job*>(data);
            const int64_t begin = mine.count * index / total, end = mine.count * (index + 1) / total;
            if (begin < end) run_part(mine.body, begin, end);
        },
        &job);
}

static inline int64_t grain_of(int64_t item_size) { return 1 + 16384 / (item_size + 1); }

// Multiplications that are worth waking a thread for: on a shared machine a barrier costs more than 50 us.
constexpr int64_t FEW_WORK = 1 << 19;

static inline int64_t few_grain(int64_t work) { return 1 + FEW_WORK / (work + 1); }
