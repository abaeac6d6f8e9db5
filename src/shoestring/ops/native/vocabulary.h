// Passes over one row of logits that several kernels make.
#pragma once

#include "common.h"

template <class X>
static float largest(const X* x, int64_t size) {
    float top = -INFINITY;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < size; i++) top = load(x + i) > top ? load(x + i) : top;
    return top;
}

constexpr int64_t BLOCK = 256;

// sum over the block of e^(x * scale - peak); blocks keep the float32 sums short
template <class X>
static float block_sum(const X* x, int64_t size, float scale, float peak) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) sum += fast_exp(load(x + i) * scale - peak);
    return sum;
}

template <class X>
static double total_of(const X* x, int64_t vocab, float scale, float peak, double* ends) {
    double total = 0.0;
    for (int64_t start = 0; start < vocab; start += BLOCK) {
        total += block_sum(x + start, vocab - start < BLOCK ? vocab - start : BLOCK, scale, peak);
        if (ends) ends[start / BLOCK] = total;
    }
    return total;
}

// The first token whose cumulative weight passes `target`: first the block, then inside it. Rounding may leave the
// target past the end; then the last token that has any weight is taken.
template <class X>
static int64_t draw(const X* x, int64_t vocab, float scale, float peak, const double* ends, double target) {
    const int64_t blocks = (vocab + BLOCK - 1) / BLOCK;
    int64_t block = 0;
    while (block + 1 < blocks && !(ends[block] > target)) block++;
    while (block > 0 && !(ends[block] > ends[block - 1])) block--;
    const int64_t first = block * BLOCK, last = first + BLOCK < vocab ? first + BLOCK : vocab;
    double reached = block ? ends[block - 1] : 0.0;
    int64_t chosen = first;
    for (int64_t i = first; i < last; i++) {
        const double weight = fast_exp(load(x + i) * scale - peak);
        if (weight > 0.0) chosen = i;
        reached += weight;
        if (reached > target) break;
    }
    return chosen;
}

// The first token with this value; 0 where none has it (NaN)
template <class X>
static int64_t first_of(const X* x, int64_t vocab, float value) {
    for (int64_t start = 0; start < vocab; start += BLOCK) {
        const int64_t end = start + BLOCK < vocab ? start + BLOCK : vocab;
        if (largest(x + start, end - start) == value)
            for (int64_t i = start; i < end; i++)
                if (load(x + i) == value) return i;
    }
    return 0;
}
