// One pass of AdamW over everything that it reads and writes, and the sum of micro-batches' gradients.
#include "common.h"

// Parts end where a vector does: the numbers left over at an end are computed by other instructions, and which they
// are must not depend on the number of threads.
constexpr int64_t BLOCK = 1024;

template <class Body>
static inline void split_blocks(int64_t size, int threads, const Body& body) {
    split((size + BLOCK - 1) / BLOCK, threads, 16, [=](int64_t begin, int64_t end) {
        body(begin * BLOCK, end * BLOCK < size ? end * BLOCK : size);
    });
}

struct AdamW {
    float scale, rate, shrink, beta1, beta2, epsilon, bias1, root_bias2;
};

// Of each number: grad * scale into both moments, the master weight one step down, the network's weight rewritten,
// the gradient cleared. As torch's AdamW: the master first shrinks by 1 - rate * decay.
template <class X>
static void adamw(float* grad, float* master, float* first, float* second, X* weight, int64_t size, AdamW a,
                  int threads) {
    split_blocks(size, threads, [=](int64_t begin, int64_t end) {
        const float step = a.rate / a.bias1, inverse_root = 1.0f / a.root_bias2;
#pragma omp simd
        for (int64_t i = begin; i < end; i++) {
            const float g = grad[i] * a.scale;
            const float m = first[i] + (1.0f - a.beta1) * (g - first[i]);
            const float v = a.beta2 * second[i] + (1.0f - a.beta2) * g * g;
            const float w = master[i] * a.shrink - step * m / (std::sqrt(v) * inverse_root + a.epsilon);
            first[i] = m;
            second[i] = v;
            master[i] = w;
            store(weight + i, w);
            grad[i] = 0.0f;
        }
    });
}

// sum += x
template <class X>
static void add_into(const X* x, float* sum, int64_t size, int threads) {
    split_blocks(size, threads, [=](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; i++) sum[i] += load(x + i);
    });
}

#define OPTIMIZER(NAME, X)                                                                                         \
    API void adamw_##NAME(float* grad, float* master, float* first, float* second, X* weight, int64_t size,        \
                          float scale, float rate, float shrink, float beta1, float beta2, float epsilon,          \
                          float bias1, float root_bias2, int threads) {                                            \
        adamw(grad, master, first, second, weight, size,                                                           \
              AdamW{scale, rate, shrink, beta1, beta2, epsilon, bias1, root_bias2}, threads);                      \
    }                                                                                                              \
    API void add_into_##NAME(const X* x, float* sum, int64_t size, int threads) { add_into(x, sum, size, threads); }

OPTIMIZER(f32, float)
OPTIMIZER(bf16, bf16)
