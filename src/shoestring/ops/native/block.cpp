// A block of the plain decoder (Llama, Qwen2, Qwen3) in two calls, what is before attention and what comes after: at few
// tokens the fifteen calls of its parts take longer than the work. What they stand for is models/block.py.
#include <type_traits>

#include "panels.h"
#include "quantized.h"
#include "rowwise.h"
#include "team.h"

// As ops/block.py writes it, word for word. Matrices of 16 and 32 bits are plain rows of X.
struct Layer {
    Matrix qkv, out, gate_up, down;
    const void *norm, *post_norm, *query_norm, *key_norm;  // the last two may be null
    int64_t heads, kv_heads, dim;
    double eps;
};

constexpr int64_t LEAST_WORK = 1 << 17;  // multiplications that more than one thread is worth

static inline int threads_for(int64_t work, int threads) { return work < LEAST_WORK ? 1 : threads; }

template <class T>
static inline const T* as(const void* p) {
    return static_cast<const T*>(p);
}

// What a thread may take of a matrix's columns
static inline int64_t columns_of(const Matrix& m) { return m.in_panels ? COLUMNS : LANES; }

// Rows that meet a matrix: as they are, or as whole numbers where the matrix is in them
template <class X>
class Operand {
    const Matrix& m_;
    const X* x_;
    int64_t rows_;
    Coded coded_;
    std::vector<const X*> each_;

  public:
    Operand(const Matrix& m, const X* x, int64_t rows)
        : m_(m), x_(x), rows_(rows), coded_(m.bits <= 8 ? rows : 0, m.bits <= 8 ? m.depth : 0) {
        if (m.bits <= 8 || m.in_panels) return;
        for (int64_t row = 0; row < rows; row++) each_.push_back(x + row * m.depth);
    }
    void set_row(int64_t row) {  // once x has it
        if (m_.bits <= 8) coded_.set_row(row, x_ + row * m_.depth);
    }
    // numbers [begin, end) of every row's product, `begin` a multiple of `columns_of`
    void times(int64_t begin, int64_t end, X* out, int64_t stride) const {
        if (begin >= end) return;
        if (m_.bits <= 8)
            return coded_times<X>(m_, coded_, rows_, begin / LANES, (end + LANES - 1) / LANES, out, stride);
#ifdef HAS_PRODUCT
        if constexpr (std::is_same_v<X, bf16>) {
            if (m_.in_panels)
                return PanelRows{x_, rows_, m_.depth}.times(as<X>(m_.values), as<X>(m_.bias), begin, end, out, stride);
        }
#endif
        const int64_t wide = end - begin;
        Scratch room(rows_ * wide);
        Rows<X>(each_.data(), rows_, m_.depth).times(reinterpret_cast<const X*>(m_.values), begin, end, room.data(), wide);
        const X* bias = as<X>(m_.bias);
        for (int64_t row = 0; row < rows_; row++) {
            float* made = room.data() + row * wide;
            if (bias)
                for (int64_t i = 0; i < wide; i++) made[i] += load(bias + begin + i);
            store_row(out + row * stride + begin, made, wide);
        }
    }
};

template <class X>
static inline int64_t floats_for(int64_t numbers) { return (numbers * int64_t(sizeof(X)) + 3) / 4; }

template <class X>
static void norm_heads(X* x, const void* weight, int64_t heads, const Layer& layer) {
    if (!weight) return;
    for (int64_t h = 0; h < heads; h++, x += layer.dim)
        norm_row<X, X>(x, nullptr, as<X>(weight), nullptr, x, layer.dim, float(layer.eps));
}

// x (tokens, size) float32 and the branch still to be added (may be null) -> their sum, and of its norm the queries,
// keys and values; queries and keys normed where the layer does that, and turned
template <class X>
static void block_inputs(const Layer* words, const float* x, const X* branch, const float* cos, const float* sin,
                         float* total, X* q, X* k, X* v, int64_t tokens, int threads) {
    const Layer& layer = *words;
    const int64_t size = layer.qkv.depth, dim = layer.dim, wide = layer.qkv.rows, half = dim / 2;
    const int64_t heads = layer.heads, kv_heads = layer.kv_heads;
    Scratch room(floats_for<X>(tokens * (size + wide)));
    X *normed = reinterpret_cast<X*>(room.data()), *made = normed + tokens * size;
    Operand<X> operand(layer.qkv, normed, tokens);
    together(threads_for(tokens * size * wide, threads), [&](const Member& me) {
        me.share(tokens, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; t++) {
                norm_row(x + t * size, branch ? branch + t * size : nullptr, as<X>(layer.norm), total + t * size,
                         normed + t * size, size, float(layer.eps));
                operand.set_row(t);
            }
        });
        me.wait();
        me.share(heads + 2 * kv_heads, [&](int64_t begin, int64_t end) {  // a head's panels are one thread's
            operand.times(begin * dim, end * dim, made, wide);
            for (int64_t t = 0; t < tokens; t++)
                for (int64_t h = begin; h < end; h++) {
                    X* own = made + t * wide + h * dim;
                    const float *c = cos + t * half, *s = sin + t * half;
                    if (h < heads) {
                        norm_heads(own, layer.query_norm, 1, layer);
                        rotate_row(own, q + (t * heads + h) * dim, c, s, 1.0f, 1, dim);
                    } else if (h < heads + kv_heads) {
                        norm_heads(own, layer.key_norm, 1, layer);
                        rotate_row(own, k + (t * kv_heads + h - heads) * dim, c, s, 1.0f, 1, dim);
                    } else {
                        X* to = v + (t * kv_heads + h - heads - kv_heads) * dim;
                        std::memcpy(static_cast<void*>(to), own, sizeof(X) * size_t(dim));
                    }
                }
        });
    });
}

// x (tokens, size) and what attention made (tokens, heads * dim) -> x + its projection, and the feed-forward branch
template <class X>
static void block_outputs(const Layer* words, const float* x, const X* attended, float* total, X* branch,
                          int64_t tokens, int threads) {
    const Layer& layer = *words;
    const int64_t size = layer.out.rows, inner = layer.down.depth;
    Scratch room(floats_for<X>(tokens * (2 * size + 3 * inner)));
    X *delta = reinterpret_cast<X*>(room.data()), *normed = delta + tokens * size;
    X *gates = normed + tokens * size, *made = gates + tokens * 2 * inner;
    Operand<X> first(layer.out, attended, tokens), second(layer.gate_up, normed, tokens), last(layer.down, made, tokens);
    const auto in_lanes = [](const Member& me, const Matrix& m, int64_t count, const auto& body) {
        const int64_t each = columns_of(m);
        me.share((count + each - 1) / each, [&](int64_t begin, int64_t end) {
            body(begin * each, end * each < count ? end * each : count);
        });
    };
    together(threads_for(tokens * size * inner, threads), [&](const Member& me) {
        me.share(tokens, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; t++) first.set_row(t);
        });
        me.wait();
        in_lanes(me, layer.out, size, [&](int64_t begin, int64_t end) { first.times(begin, end, delta, size); });
        me.wait();
        me.share(tokens, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; t++) {
                const int64_t at = t * size;
                norm_row(x + at, delta + at, as<X>(layer.post_norm), total + at, normed + at, size, float(layer.eps));
                second.set_row(t);
            }
        });
        me.wait();
        in_lanes(me, layer.gate_up, inner, [&](int64_t begin, int64_t end) {  // a gate and its `up` are one thread's
            second.times(begin, end, gates, 2 * inner);
            second.times(inner + begin, inner + end, gates, 2 * inner);
            for (int64_t t = 0; t < tokens; t++) {
                const X* gate = gates + t * 2 * inner + begin;
                silu_mul_row(gate, gate + inner, made + t * inner + begin, end - begin);
            }
        });
        me.wait();
        me.share(tokens, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; t++) last.set_row(t);
        });
        me.wait();
        in_lanes(me, layer.down, size, [&](int64_t begin, int64_t end) { last.times(begin, end, branch, size); });
    });
}

// The cache's kernels (decode.cpp)
#define CACHE_CALLS(NAME, X)                                                                                       \
    API void decode_##NAME(const X*, const X*, const X*, X*, X*, const int64_t*, const int64_t*, const int64_t*,   \
                           const int64_t*, const int64_t*, int64_t, int64_t, int64_t, int64_t, int64_t, float, X*, \
                           int);                                                                                   \
    API void keep_##NAME(const X*, const X*, X*, X*, const int64_t*, const int64_t*, const int64_t*, int64_t,      \
                         int64_t, int64_t, int64_t, int);                                                          \
    static const auto decode_of(X*) { return &decode_##NAME; }                                                     \
    static const auto keep_of(X*) { return &keep_##NAME; }

CACHE_CALLS(f32, float)
CACHE_CALLS(bf16, bf16)

// As ops/block.py writes it: a pass's tokens in the cache (ops/paged.py)
struct Step {
    const int64_t *tables, *rows, *places, *order, *runs;
    int64_t num_runs, table_width, keeps_first;
    double scale;
};

// All layers of a network, one after the other: x (tokens, size) float32 becomes the sum but for the last branch.
// stores (layers, 2): where each one's keys and values lie.
template <class X>
static void block_layers(const Layer* layers, X* const* stores, const Step& step, const float* cos, const float* sin,
                         float* x, X* branch, int64_t count, int64_t tokens, int threads) {
    const auto lines = [](int64_t numbers) { return (numbers + 31) / 32 * 32; };  // all begin on a cache line
    const int64_t dim = layers->dim;
    const int64_t q_size = lines(tokens * layers->heads * dim), kv_size = lines(tokens * layers->kv_heads * dim);
    Scratch room(floats_for<X>(2 * q_size + 2 * kv_size));
    X *q = reinterpret_cast<X*>(room.data()), *attended = q + q_size, *k = attended + q_size, *v = k + kv_size;
    Crew::lead(threads, [&] {
        for (int64_t l = 0; l < count; l++) {
            const Layer& layer = layers[l];
            X *keys = stores[2 * l], *values = stores[2 * l + 1];
            block_inputs(&layer, x, l ? branch : nullptr, cos, sin, x, q, k, v, tokens, threads);
            if (step.keeps_first)
                keep_of(q)(k, v, keys, values, step.tables, step.rows, step.places, tokens, step.table_width,
                           layer.kv_heads, dim, threads);
            const X *new_k = step.keeps_first ? nullptr : k, *new_v = step.keeps_first ? nullptr : v;
            decode_of(q)(q, new_k, new_v, keys, values, step.tables, step.rows, step.places, step.order, step.runs,
                         step.num_runs, step.table_width, layer.heads, layer.kv_heads, dim, float(step.scale), attended,
                         threads);
            block_outputs(&layer, x, attended, x, branch, tokens, threads);
        }
    });
}

#define BLOCK(NAME, X)                                                                                             \
    API void block_inputs_##NAME(const Layer* layer, const float* x, const X* branch, const float* cos,            \
                                 const float* sin, float* total, X* q, X* k, X* v, int64_t tokens, int threads) {  \
        block_inputs(layer, x, branch, cos, sin, total, q, k, v, tokens, threads);                                 \
    }                                                                                                              \
    API void block_outputs_##NAME(const Layer* layer, const float* x, const X* attended, float* total, X* branch,  \
                                  int64_t tokens, int threads) {                                                   \
        block_outputs(layer, x, attended, total, branch, tokens, threads);                                         \
    }                                                                                                              \
    API void block_layers_##NAME(const Layer* layers, X* const* stores, const Step* step, const float* cos,        \
                                 const float* sin, float* x, X* branch, int64_t count, int64_t tokens,             \
                                 int threads) {                                                                    \
        block_layers(layers, stores, *step, cos, sin, x, branch, count, tokens, threads);                          \
    }

BLOCK(f32, float)
BLOCK(bf16, bf16)
