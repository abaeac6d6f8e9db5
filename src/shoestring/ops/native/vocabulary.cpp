// Softmax over the vocabulary: what training needs of it, and drawing from it.
#include <vector>

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

template <class X>
static void target_logprobs(const X* logits, const int64_t* targets, float* logprobs, float* normalizers,
                            int64_t rows, int64_t vocab, float scale, int threads) {
    split(rows, threads, 1, [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const X* x = logits + row * vocab;
            const float peak = largest(x, vocab) * scale;
            normalizers[row] = peak + float(std::log(total_of(x, vocab, scale, peak, nullptr)));
            logprobs[row] = load(x + targets[row]) * scale - normalizers[row];
        }
    });
}

// out = slope * scale * (onehot(target) - e^(x * scale - normalizer)); out may be logits itself
template <class X, class Y>
static void softmax_gradient(const X* logits, const float* normalizers, const int64_t* targets, const float* slopes,
                             Y* out, int64_t rows, int64_t vocab, float scale, int threads) {
    split(rows, threads, 1, [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const X* x = logits + row * vocab;
            Y* o = out + row * vocab;
            const float slope = slopes[row] * scale, normalizer = normalizers[row];
            const float at_target = load(x + targets[row]);
            alignas(64) float weights[BLOCK];  // in two loops: joined, GCC sinks the product into fast_exp's select
            for (int64_t start = 0; start < vocab; start += BLOCK) {
                const int64_t size = vocab - start < BLOCK ? vocab - start : BLOCK;
#pragma omp simd
                for (int64_t i = 0; i < size; i++) weights[i] = fast_exp(load(x + start + i) * scale - normalizer);
#pragma omp simd
                for (int64_t i = 0; i < size; i++) store(o + start + i, -slope * weights[i]);
            }
            store(o + targets[row], slope - slope * fast_exp(at_target * scale - normalizer));
        }
    });
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

// scale is 1 / temperature; uniform null is greedy (scale 1: the logprob is the raw one)
template <class X>
static void sample(const X* logits, const double* uniform, int64_t* ids, float* logprobs, int64_t rows, int64_t vocab,
                   float scale, int threads) {
    split(rows, threads, 1, [=](int64_t begin, int64_t end) {
        std::vector<double> ends((vocab + BLOCK - 1) / BLOCK);
        for (int64_t row = begin; row < end; row++) {
            const X* x = logits + row * vocab;
            const float top = largest(x, vocab), peak = top * scale;
            const double total = total_of(x, vocab, scale, peak, ends.data());
            int64_t chosen = 0;
            if (uniform) {
                chosen = draw(x, vocab, scale, peak, ends.data(), uniform[row] * total);
            } else {
                chosen = first_of(x, vocab, top);
            }
            ids[row] = chosen;
            logprobs[row] = load(x + chosen) * scale - peak - float(std::log(total));
        }
    });
}

#define VOCABULARY(NAME, X)                                                                                        \
    API void target_logprobs_##NAME(const X* logits, const int64_t* targets, float* logprobs, float* normalizers,  \
                                    int64_t rows, int64_t vocab, float scale, int threads) {                       \
        target_logprobs(logits, targets, logprobs, normalizers, rows, vocab, scale, threads);                      \
    }                                                                                                              \
    API void sample_##NAME(const X* logits, const double* uniform, int64_t* ids, float* logprobs, int64_t rows,    \
                           int64_t vocab, float scale, int threads) {                                              \
        sample(logits, uniform, ids, logprobs, rows, vocab, scale, threads);                                       \
    }

#define GRADIENT(NAME, X, Y)                                                                                       \
    API void softmax_gradient_##NAME(const X* logits, const float* normalizers, const int64_t* targets,            \
                                     const float* slopes, Y* out, int64_t rows, int64_t vocab, float scale,        \
                                     int threads) {                                                                \
        softmax_gradient(logits, normalizers, targets, slopes, out, rows, vocab, scale, threads);                  \
    }

VOCABULARY(f32, float)
VOCABULARY(bf16, bf16)
GRADIENT(f32_f32, float, float)
GRADIENT(f32_bf16, float, bf16)
GRADIENT(bf16_bf16, bf16, bf16)
