// RMSNorm, SwiGLU and rotary positions, forward and backward, each in one pass over memory.
#include "rowwise.h"

Pool pool = {nullptr, nullptr, nullptr};
thread_local Crew* Crew::own = nullptr;

API void use_pool(void* parallel, void* thread_num, void* num_threads) {
    pool.parallel = reinterpret_cast<decltype(pool.parallel)>(parallel);
    pool.thread_num = reinterpret_cast<decltype(pool.thread_num)>(thread_num);
    pool.num_threads = reinterpret_cast<decltype(pool.num_threads)>(num_threads);
}

// A row's `inverse` is 1 / rms
template <class X, class Y>
static void norm_forward(const X* x, const Y* delta, const Y* weight, X* sum, Y* out, float* inverse,
                         int64_t rows, int64_t size, float eps, int threads) {
    split(rows, threads, grain_of(size), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const int64_t at = row * size;
            inverse[row] = norm_row(x + at, delta ? delta + at : nullptr, weight, sum ? sum + at : nullptr, out + at,
                                    size, eps);
        }
    });
}

// Gradients of norm_forward. x is what was normalised; grad_sum (may be null) arrives at x directly; grad_delta (may
// be null) is grad_x in the branch's type. The weight's gradient is summed over a fixed number of parts of the rows
// and then over the parts in order, so that the number of threads doesn't change it.
constexpr int64_t PARTS = 32;

template <class X, class Y>
static void norm_backward(const Y* grad, const X* grad_sum, const X* x, const Y* weight, const float* inverse,
                          X* grad_x, Y* grad_delta, Y* grad_weight, int64_t rows, int64_t size, int threads) {
    Scratch parts(PARTS * size);
    float* sums = parts.data();
    std::memset(sums, 0, sizeof(float) * size_t(PARTS * size));
    const int64_t grain = rows * size < 16384 ? PARTS : 1;
    split(PARTS, threads, grain, [=](int64_t first, int64_t last) {
        for (int64_t part = first; part < last; part++) {
            float* w_sum = sums + part * size;
            for (int64_t row = rows * part / PARTS; row < rows * (part + 1) / PARTS; row++) {
                const Y* g = grad + row * size;
                const X* a = x + row * size;
                const float scale = inverse[row];
                float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
                for (int64_t i = 0; i < size; i++) {
                    const float product = load(g + i) * load(a + i);
                    w_sum[i] += product * scale;
                    dot += product * load(weight + i);
                }
                const float pull = dot * scale * scale * scale / float(size);
                X* gx = grad_x + row * size;
                const X* gs = grad_sum ? grad_sum + row * size : nullptr;
                Y* gd = grad_delta ? grad_delta + row * size : nullptr;
                if (gs) {
#pragma omp simd
                    for (int64_t i = 0; i < size; i++) {
                        const float own = load(g + i) * load(weight + i) * scale - load(a + i) * pull;
                        store(gx + i, own + load(gs + i));
                    }
                } else {
#pragma omp simd
                    for (int64_t i = 0; i < size; i++)
                        store(gx + i, load(g + i) * load(weight + i) * scale - load(a + i) * pull);
                }
                if (gd) {
#pragma omp simd
                    for (int64_t i = 0; i < size; i++) store(gd + i, load(gx + i));
                }
            }
        }
    });
    for (int64_t part = 1; part < PARTS; part++)
        for (int64_t i = 0; i < size; i++) sums[i] += sums[part * size + i];
    for (int64_t i = 0; i < size; i++) store(grad_weight + i, sums[i]);
}

// gate_up (rows, 2 size) holds gate then up; out = silu(gate) * up
template <class X>
static void silu_mul_forward(const X* gate_up, X* out, int64_t rows, int64_t size, int threads) {
    split(rows, threads, grain_of(size), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const X* gate = gate_up + row * 2 * size;
            silu_mul_row(gate, gate + size, out + row * size, size);
        }
    });
}

template <class X>
static void silu_mul_backward(const X* grad, const X* gate_up, X* grad_gate_up, int64_t rows, int64_t size,
                              int threads) {
    split(rows, threads, grain_of(size), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const X *gate = gate_up + row * 2 * size, *up = gate + size, *d = grad + row * size;
            X *grad_gate = grad_gate_up + row * 2 * size, *grad_up = grad_gate + size;
#pragma omp simd
            for (int64_t i = 0; i < size; i++) {
                const float g = load(gate + i), from = load(d + i);
                const float sigmoid = sigmoid_of(g);
                store(grad_gate + i, from * load(up + i) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
                store(grad_up + i, from * g * sigmoid);
            }
        }
    });
}

// From rows of one stride to rows of another; cos and sin are (rows, dim / 2)
template <class X>
static void rotate(const X* x, int64_t x_stride, X* out, int64_t out_stride, const float* cos, const float* sin,
                   float sign, int64_t rows, int64_t heads, int64_t dim, int threads) {
    const int64_t half = dim / 2;
    split(rows, threads, grain_of(heads * dim), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++)
            rotate_row(x + row * x_stride, out + row * out_stride, cos + row * half, sin + row * half, sign, heads, dim);
    });
}

#define NORM(NAME, X, Y)                                                                                           \
    API void norm_forward_##NAME(const X* x, const Y* delta, const Y* weight, X* sum, Y* out, float* inverse,      \
                                 int64_t rows, int64_t size, float eps, int threads) {                             \
        norm_forward(x, delta, weight, sum, out, inverse, rows, size, eps, threads);                               \
    }                                                                                                              \
    API void norm_backward_##NAME(const Y* grad, const X* grad_sum, const X* x, const Y* weight,                   \
                                  const float* inverse, X* grad_x, Y* grad_delta, Y* grad_weight, int64_t rows,    \
                                  int64_t size, int threads) {                                                     \
        norm_backward(grad, grad_sum, x, weight, inverse, grad_x, grad_delta, grad_weight, rows, size, threads);   \
    }

#define POINTWISE(NAME, X)                                                                                         \
    API void silu_mul_forward_##NAME(const X* gate_up, X* out, int64_t rows, int64_t size, int threads) {          \
        silu_mul_forward(gate_up, out, rows, size, threads);                                                       \
    }                                                                                                              \
    API void silu_mul_backward_##NAME(const X* grad, const X* gate_up, X* grad_gate_up, int64_t rows,              \
                                      int64_t size, int threads) {                                                 \
        silu_mul_backward(grad, gate_up, grad_gate_up, rows, size, threads);                                       \
    }                                                                                                              \
    API void rotate_##NAME(const X* x, int64_t x_stride, X* out, int64_t out_stride, const float* cos,             \
                           const float* sin, float sign, int64_t rows, int64_t heads, int64_t dim, int threads) {  \
        rotate(x, x_stride, out, out_stride, cos, sin, sign, rows, heads, dim, threads);                           \
    }

NORM(f32_f32, float, float)
NORM(f32_bf16, float, bf16)
NORM(bf16_bf16, bf16, bf16)
POINTWISE(f32, float)
POINTWISE(bf16, bf16)

constexpr int64_t SIDE = 32;  // of a square whose rows are one cache line of bf16
typedef uint16_t Line __attribute__((vector_size(64)));

// Row i meets row i + 16, number by number, five times: a perfect shuffle of the square, which is its transpose.
static inline void transpose_square(Line* x) {
    Line y[SIDE];
    for (int stage = 0; stage < 5; stage++) {
        Line *from = stage % 2 ? y : x, *to = stage % 2 ? x : y;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            to[2 * i] = __builtin_shufflevector(from[i], from[i + 16],
        0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12,
        44, 13, 45, 14, 46, 15, 47);
            to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 16],
        16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58, 27,
        59, 28, 60, 29, 61, 30, 62, 31, 63);
        }
    }
    std::memcpy(x, y, sizeof(y));
}

// A square at x to one at out; height and width are SIDE but at the edges. Constant sizes where they can be: a memcpy
// of unknown size is a call, and 64 of them took several times as long as the shuffles.
static inline void transpose_part(const bf16* x, int64_t x_stride, bf16* out, int64_t out_stride, int64_t height,
                                  int64_t width) {
    Line square[SIDE];
    if (height == SIDE && width == SIDE) {
        for (int64_t r = 0; r < SIDE; r++) std::memcpy(square + r, x + r * x_stride, sizeof(Line));
        transpose_square(square);
        for (int64_t c = 0; c < SIDE; c++) std::memcpy(out + c * out_stride, square + c, sizeof(Line));
        return;
    }
    for (int64_t r = 0; r < height; r++) std::memcpy(square + r, x + r * x_stride, sizeof(bf16) * size_t(width));
    transpose_square(square);
    for (int64_t c = 0; c < width; c++) std::memcpy(out + c * out_stride, square + c, sizeof(bf16) * size_t(height));
}

// x (rows, columns) -> out (columns, rows). Four squares side by side are read before the next 32 rows are:
// with one, each row's page was visited again for every 64 bytes of it.
API void transpose_bf16(const bf16* x, bf16* out, int64_t rows, int64_t columns, int threads) {
    constexpr int64_t WIDE = 4 * SIDE;
    split((columns + SIDE - 1) / SIDE, threads, 1, [=](int64_t begin, int64_t end) {
        const int64_t last = end * SIDE < columns ? end * SIDE : columns;
        for (int64_t first = begin * SIDE; first < last; first += WIDE)
            for (int64_t top = 0; top < rows; top += SIDE)
                for (int64_t left = first; left < first + WIDE && left < last; left += SIDE)
                    transpose_part(x + top * columns + left, columns, out + left * rows + top, rows,
                                   rows - top < SIDE ? rows - top : SIDE, last - left < SIDE ? last - left : SIDE);
    });
}
