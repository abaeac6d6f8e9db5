// Softmax over the vocabulary: what training needs of it, and drawing from it.
#include <vector>

#include "vocabulary.h"

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
