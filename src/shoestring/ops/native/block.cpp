// A block of the plain decoder (Llama, Qwen2, Qwen3) in two calls, what is before attention and what comes after, and all
// blocks of a network in one: at few tokens the fifteen calls of its parts take longer than the work. What they stand for
// is models/block.py.
#include "decode.h"
#include "operand.h"
#include "rowwise.h"

// As ops/block.py writes it, word for word. Matrices of 16 and 32 bits are plain rows of X.
struct Layer {
    Matrix qkv, out, gate_up, down;
    const void *norm, *post_norm, *query_norm, *key_norm;  // the last two may be null
    int64_t heads, kv_heads, dim;
    double eps;
};

constexpr int64_t LEAST_WORK = 1 << 17;  // multiplications that more than one thread is worth

static inline int threads_for(int64_t work, int threads) { return work < LEAST_WORK ? 1 : threads; }

// What a pass's threads make for each other
template <class X>
struct Parts {
    const int64_t tokens;
    Room<X> room;
    X *qkv, *delta, *gates, *inner;

    Parts(const Layer& layer, int64_t count)
        : tokens(count), room({count * layer.qkv.rows, count * layer.out.rows, count * layer.gate_up.rows,
                               count * layer.down.depth}),
          qkv(room.part(count * layer.qkv.rows)), delta(room.part(count * layer.out.rows)),
          gates(room.part(count * layer.gate_up.rows)), inner(room.part(count * layer.down.depth)) {}
};

// Rows on their way through the layers. Each of many is one thread's, and all wait for the others'. A few are made by every
// thread by itself (`alone`), norms and rounding too: that takes a microsecond, and a wait as long.
template <class X>
struct Stream {
    const bool alone;
    Room<X> room;
    X* normed;
    Operand<X> normed_rows, attended_rows, inner_rows;

    Stream(const Layer& layer, const Parts<X>& parts, const X* attended, bool by_itself)
        : alone(by_itself), room({parts.tokens * layer.qkv.depth}), normed(room.part(parts.tokens * layer.qkv.depth)),
          normed_rows(normed, parts.tokens, layer.qkv.depth),
          attended_rows(attended, parts.tokens, layer.out.depth), inner_rows(parts.inner, parts.tokens, layer.down.depth) {}

    template <class Body>
    void each(const Member& me, int64_t tokens, const Body& body) {
        if (alone) return run_part(body, 0, tokens);
        me.share(tokens, body);
        me.wait();
    }
    // total = x + branch (may be null), and its norm, to meet m
    void take(const Member& me, const Layer& layer, const void* norm, const Matrix& m, const float* x, const X* branch,
              float* total, int64_t tokens) {
        const int64_t size = layer.qkv.depth;
        each(me, tokens, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; t++) {
                norm_row(x + t * size, branch ? branch + t * size : nullptr, as<X>(norm), total + t * size,
                         normed + t * size, size, float(layer.eps));
                normed_rows.set_row(m, t);
            }
        });
    }
};

template <class X>
static void norm_heads(X* x, const void* weight, int64_t heads, const Layer& layer) {
    if (!weight) return;
    for (int64_t h = 0; h < heads; h++, x += layer.dim)
        norm_row<X, X>(x, nullptr, as<X>(weight), nullptr, x, layer.dim, float(layer.eps));
}

static inline int64_t heads_of(const Layer& layer) { return layer.heads + 2 * layer.kv_heads; }

// A member's part of queries, keys and values of the normed rows; queries and keys normed where the layer does that, and
// turned
template <class X>
static void project(const Member& me, const Layer& layer, const Stream<X>& stream, const Parts<X>& parts, const float* cos,
                    const float* sin, X* q, X* k, X* v) {
    const int64_t dim = layer.dim, wide = layer.qkv.rows, half = dim / 2, tokens = parts.tokens;
    const int64_t heads = layer.heads, kv_heads = layer.kv_heads;
    me.share(heads_of(layer), [&](int64_t begin, int64_t end) {  // a head's panels are one thread's
        stream.normed_rows.times(layer.qkv, begin * dim, end * dim, parts.qkv, wide);
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t h = begin; h < end; h++) {
                X* own = parts.qkv + t * wide + h * dim;
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
}

// From what attention made: x + its projection, and a member's part of the feed-forward branch. All have waited before;
// `next` is what comes after (may be null).
template <class X>
static void feed_forward(const Member& me, const Layer& layer, Stream<X>& stream, const Parts<X>& parts, const float* x,
                         float* total, X* branch, const Layer* next) {
    const int64_t size = layer.out.rows, inner = layer.down.depth, tokens = parts.tokens;
    stream.each(me, tokens, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; t++) stream.attended_rows.set_row(layer.out, t);
    });
    in_lanes(me, layer.out, size, [&](int64_t begin, int64_t end) {
        stream.attended_rows.times(layer.out, begin, end, parts.delta, size);
    });
    ask_for(layer.gate_up, first_lane(me, layer.gate_up, inner));
    me.wait();
    stream.take(me, layer, layer.post_norm, layer.gate_up, x, parts.delta, total, tokens);
    in_lanes(me, layer.gate_up, inner, [&](int64_t begin, int64_t end) {  // a gate and its `up` are one thread's
        stream.normed_rows.times(layer.gate_up, begin, end, parts.gates, 2 * inner);
        stream.normed_rows.times(layer.gate_up, inner + begin, inner + end, parts.gates, 2 * inner);
        for (int64_t t = 0; t < tokens; t++) {
            const X* gate = parts.gates + t * 2 * inner + begin;
            silu_mul_row(gate, gate + inner, parts.inner + t * inner + begin, end - begin);
        }
    });
    ask_for(layer.down, first_lane(me, layer.down, size));
    me.wait();
    stream.each(me, tokens, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; t++) stream.inner_rows.set_row(layer.down, t);
    });
    in_lanes(me, layer.down, size, [&](int64_t begin, int64_t end) {
        stream.inner_rows.times(layer.down, begin, end, branch, size);
    });
    if (next) ask_for(next->qkv, heads_of(*next) * me.index / me.total * next->dim);
    me.wait();
}

// x (tokens, size) float32 and the branch still to be added (may be null) -> their sum, and of its norm the queries,
// keys and values
template <class X>
static void block_inputs(const Layer& layer, const float* x, const X* branch, const float* cos, const float* sin,
                         float* total, X* q, X* k, X* v, int64_t tokens, int threads) {
    Parts<X> parts(layer, tokens);
    Stream<X> stream(layer, parts, q, false);
    together(threads_for(tokens * layer.qkv.depth * layer.qkv.rows, threads), [&](const Member& me) {
        stream.take(me, layer, layer.norm, layer.qkv, x, branch, total, tokens);
        project(me, layer, stream, parts, cos, sin, q, k, v);
    });
}

// x (tokens, size) and what attention made (tokens, heads * dim) -> x + its projection, and the feed-forward branch
template <class X>
static void block_outputs(const Layer& layer, const float* x, const X* attended, float* total, X* branch,
                          int64_t tokens, int threads) {
    Parts<X> parts(layer, tokens);
    Stream<X> stream(layer, parts, attended, false);
    together(threads_for(tokens * layer.out.rows * layer.down.depth, threads), [&](const Member& me) {
        feed_forward(me, layer, stream, parts, x, total, branch, nullptr);
    });
}

// As ops/block.py writes it: a pass's tokens in the cache (ops/paged.py)
struct Step {
    const int64_t *tables, *rows, *places, *order, *runs;
    int64_t num_runs, table_width, keeps_first;
    double scale;
};

constexpr int64_t ALONE = 4;  // rows that every thread makes by itself

// All layers of a network, one after the other: x (tokens, size) float32 becomes the sum but for the last branch.
// stores (layers, 2): where each one's keys and values lie.
template <class X>
static void block_layers(const Layer* layers, X* const* stores, const Step& step, const float* cos, const float* sin,
                         float* x, X* branch, int64_t count, int64_t tokens, int threads) {
    const int64_t dim = layers->dim, heads = layers->heads, kv_heads = layers->kv_heads, size = layers->qkv.depth;
    const int64_t q_size = tokens * heads * dim, kv_size = tokens * kv_heads * dim;
    Room<X> room({q_size, q_size, kv_size, kv_size});
    X *q = room.part(q_size), *attended = room.part(q_size), *k = room.part(kv_size), *v = room.part(kv_size);
    Parts<X> parts(*layers, tokens);
    const auto through = [&](const Member& me, Stream<X>& stream, float* x) {
        for (int64_t l = 0; l < count; l++) {
            const Layer& layer = layers[l];
            stream.take(me, layer, layer.norm, layer.qkv, x, l ? branch : nullptr, x, tokens);
            project(me, layer, stream, parts, cos, sin, q, k, v);
            ask_for(layer.out, first_lane(me, layer.out, size));
            me.wait();
            const Cache<X> cache{stores[2 * l], stores[2 * l + 1], step.tables, step.rows, step.places, step.table_width,
                                 heads, kv_heads, dim, float(step.scale)};
            if (step.keeps_first) {
                me.share(tokens, [&](int64_t begin, int64_t end) { keep_tokens(k, v, cache, begin, end); });
                me.wait();
            }
            const X *new_k = step.keeps_first ? nullptr : k, *new_v = step.keeps_first ? nullptr : v;
            const Runs<X> all{q, new_k, new_v, cache, step.order, step.runs, step.num_runs, attended};
            me.share(all.count(), [&](int64_t begin, int64_t end) { attend_runs(all, begin, end); });
            me.wait();
            feed_forward(me, layer, stream, parts, x, x, branch, l + 1 < count ? &layers[l + 1] : nullptr);
        }
    };
    threads = threads_for(tokens * size * layers->down.depth, threads);
    if (tokens > ALONE) {
        Stream<X> stream(*layers, parts, attended, false);
        return together(threads, [&](const Member& me) { through(me, stream, x); });
    }
    together(threads, [&](const Member& me) {
        Stream<X> stream(*layers, parts, attended, true);
        Scratch own(tokens * size);
        std::memcpy(own.data(), x, sizeof(float) * size_t(tokens * size));
        through(me, stream, own.data());
        if (!me.index) std::memcpy(x, own.data(), sizeof(float) * size_t(tokens * size));  // all have waited since they read x
    });
}

#define BLOCK(NAME, X)                                                                                             \
    API void block_inputs_##NAME(const Layer* layer, const float* x, const X* branch, const float* cos,            \
                                 const float* sin, float* total, X* q, X* k, X* v, int64_t tokens, int threads) {  \
        block_inputs(*layer, x, branch, cos, sin, total, q, k, v, tokens, threads);                                 \
    }                                                                                                              \
    API void block_outputs_##NAME(const Layer* layer, const float* x, const X* attended, float* total, X* branch,  \
                                  int64_t tokens, int threads) {                                                   \
        block_outputs(*layer, x, attended, total, branch, tokens, threads);                                         \
    }                                                                                                              \
    API void block_layers_##NAME(const Layer* layers, X* const* stores, const Step* step, const float* cos,        \
                                 const float* sin, float* x, X* branch, int64_t count, int64_t tokens,             \
                                 int threads) {                                                                    \
        block_layers(layers, stores, *step, cos, sin, x, branch, count, tokens, threads);                          \
    }

BLOCK(f32, float)
BLOCK(bf16, bf16)
