// The softmax of rows that share a prefix, over two score matrices at once, forward and backward.
#include "common.h"

template <class X>
static void scaled_out(const float* x, X* out, int64_t used, int64_t size, float scale) {
#pragma omp simd
    for (int64_t i = 0; i < used; i++) store(out + i, x[i] * scale);
    std::memset(static_cast<void*>(out + used), 0, sizeof(X) * size_t(size - used));
}

// How many keys row `row` of (prefixes, heads, rows, length, rep) sees: of its prefix, and of its own row.
struct Visible {
    const int64_t* prefix_lengths;
    int64_t rows_per_prefix, length, rep;
    int64_t prefix(int64_t row) const { return prefix_lengths[row / rows_per_prefix]; }
    int64_t own(int64_t row) const { return row / rep % length + 1; }
};

// One softmax over both score matrices (rows, span) and (rows, length), each row only as far as it may see
template <class X>
static void prefix_softmax_forward(const X* shared, const X* own, X* shared_out, X* own_out, Visible visible,
                                   int64_t rows, int64_t span, float scale, int threads) {
    const int64_t length = visible.length;
    split(rows, threads, grain_of(span + length), [=](int64_t begin, int64_t end) {
        Scratch scratch(span + length);
        float* x = scratch.data();
        for (int64_t row = begin; row < end; row++) {
            const int64_t seen = visible.prefix(row), mine = visible.own(row), all = seen + mine;
            const X *a = shared + row * span, *b = own + row * length;
#pragma omp simd
            for (int64_t i = 0; i < seen; i++) x[i] = load(a + i);
#pragma omp simd
            for (int64_t i = 0; i < mine; i++) x[seen + i] = load(b + i);
            const float top = scale_and_top(x, all, scale, -INFINITY);
            const float inverse = 1.0f / exp_and_sum(x, all, top);
            scaled_out(x, shared_out + row * span, seen, span, inverse);
            scaled_out(x + seen, own_out + row * length, mine, length, inverse);
        }
    });
}

template <class X>
static void pull_back(const X* probs, const X* grad, X* out, int64_t used, int64_t size, float dot, float scale) {
#pragma omp simd
    for (int64_t i = 0; i < used; i++) store(out + i, load(probs + i) * (load(grad + i) - dot) * scale);
    std::memset(static_cast<void*>(out + used), 0, sizeof(X) * size_t(size - used));
}

template <class X>
static void prefix_softmax_backward(const X* shared, const X* own, const X* grad_shared, const X* grad_own,
                                    X* shared_out, X* own_out, Visible visible, int64_t rows, int64_t span,
                                    float scale, int threads) {
    const int64_t length = visible.length;
    split(rows, threads, grain_of(span + length), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const int64_t seen = visible.prefix(row), mine = visible.own(row);
            const int64_t s = row * span, o = row * length;
            const float dot = dot_of(shared + s, grad_shared + s, seen) + dot_of(own + o, grad_own + o, mine);
            pull_back(shared + s, grad_shared + s, shared_out + s, seen, span, dot, scale);
            pull_back(own + o, grad_own + o, own_out + o, mine, length, dot, scale);
        }
    });
}

#define PREFIX(NAME, X)                                                                                            \
    API void prefix_softmax_forward_##NAME(const X* shared, const X* own, X* shared_out, X* own_out,               \
                                           const int64_t* prefix_lengths, int64_t rows_per_prefix, int64_t length, \
                                           int64_t rep, int64_t rows, int64_t span, float scale, int threads) {    \
        const Visible visible = {prefix_lengths, rows_per_prefix, length, rep};                                    \
        prefix_softmax_forward(shared, own, shared_out, own_out, visible, rows, span, scale, threads);             \
    }                                                                                                              \
    API void prefix_softmax_backward_##NAME(                                                                       \
        const X* shared, const X* own, const X* grad_shared, const X* grad_own, X* shared_out, X* own_out,         \
        const int64_t* prefix_lengths, int64_t rows_per_prefix, int64_t length, int64_t rep, int64_t rows,         \
        int64_t span, float scale, int threads) {                                                                  \
        const Visible visible = {prefix_lengths, rows_per_prefix, length, rep};                                    \
        prefix_softmax_backward(shared, own, grad_shared, grad_own, shared_out, own_out, visible, rows, span,      \
                                scale, threads);                                                                   \
    }

PREFIX(f32, float)
PREFIX(bf16, bf16)
