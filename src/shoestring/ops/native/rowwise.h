// What is done to one row of numbers: RMSNorm, the gate of a SwiGLU, rotary positions.
#pragma once
#include "common.h"

// out = (x + delta) / rms(x + delta) * weight -> 1 / rms; `sum` takes x + delta. delta may be null, and sum with it.
template <class X, class Y>
static inline float norm_row(const X* x, const Y* delta, const Y* weight, X* sum, Y* out, int64_t size, float eps) {
    float squares = 0.0f;
    if (delta) {
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < size; i++) {
            const float value = load(x + i) + load(delta + i);
            store(sum + i, value);
            squares += value * value;
        }
        x = sum;
    } else {
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < size; i++) squares += load(x + i) * load(x + i);
    }
    const float scale = 1.0f / std::sqrt(squares / float(size) + eps);
#pragma omp simd
    for (int64_t i = 0; i < size; i++) store(out + i, load(x + i) * scale * load(weight + i));
    return scale;
}

template <class X>
static inline void silu_mul_row(const X* gate, const X* up, X* out, int64_t size) {
#pragma omp simd
    for (int64_t i = 0; i < size; i++) {
        const float g = load(gate + i);
        store(out + i, g * sigmoid_of(g) * load(up + i));
    }
}

// Pairs (i, i + dim / 2) of each head by +angle (sign 1) or back (sign -1); cos and sin are (dim / 2,)
template <class X>
static inline void rotate_row(const X* x, X* out, const float* cos, const float* sin, float sign, int64_t heads,
                              int64_t dim) {
    const int64_t half = dim / 2;
    for (int64_t head = 0; head < heads; head++) {
        const X *a = x + head * dim, *b = a + half;
        X *p = out + head * dim, *q = p + half;
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            const float u = load(a + i), v = load(b + i), angle_sin = sign * sin[i];
            store(p + i, u * cos[i] - v * angle_sin);
            store(q + i, v * cos[i] + u * angle_sin);
        }
    }
}
