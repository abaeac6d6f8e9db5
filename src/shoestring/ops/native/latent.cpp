// Whole heads of latent attention from what its products leave, in one pass: rotating the rotary parts, giving every
// head the shared key, and taking keys and values apart. Backward is the same pass the other way.
#include "few.h"

struct Widths {
    int64_t heads, nope, rope, value;
};

// Where the two numbers of pair i lie: (2i, 2i + 1), or (i, i + rope / 2). Rotated pairs always lie the second way.
struct Pairs {
    int64_t step, apart;
    explicit Pairs(const Widths& w, bool interleaved) : step(interleaved ? 2 : 1), apart(interleaved ? 1 : w.rope / 2) {}
};

template <class X>
static inline void turn(const X* x, X* out, const float* c, const float* s, int64_t half, Pairs at) {
    for (int64_t i = 0; i < half; i++) {
        const float u = load(x + i * at.step), v = load(x + i * at.step + at.apart);
        store(out + i, u * c[i] - v * s[i]);
        store(out + half + i, v * c[i] + u * s[i]);
    }
}

template <class X>
static inline void turn_back(const float* grad, X* out, const float* c, const float* s, int64_t half, Pairs at) {
    for (int64_t i = 0; i < half; i++) {
        const float u = grad[i], v = grad[half + i];
        store(out + i * at.step, u * c[i] + v * s[i]);
        store(out + i * at.step + at.apart, v * c[i] - u * s[i]);
    }
}

// queries (rows, H, nope + rope), expanded (rows, H, nope + value), key rows of `rope` that lie key_stride apart ->
// q and k (rows, H, nope + rope), v (rows, H, value)
template <class X>
static void latent_heads(const X* queries, const X* expanded, const X* key, int64_t key_stride, const float* cos,
                         const float* sin, X* q, X* k, X* v, int64_t rows, Widths w, bool interleaved, int threads) {
    const int64_t half = w.rope / 2, wide = w.nope + w.rope, from = w.nope + w.value;
    const Pairs at(w, interleaved);
    const size_t nope = sizeof(X) * size_t(w.nope), rope = sizeof(X) * size_t(w.rope), value = sizeof(X) * size_t(w.value);
    split(rows, threads, grain_of(w.heads * wide), [=](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) {
            const float *c = cos + row * half, *s = sin + row * half;
            X* first = k + row * w.heads * wide + w.nope;
            turn(key + row * key_stride, first, c, s, half, at);
            for (int64_t head = row * w.heads; head < (row + 1) * w.heads; head++) {
                const X *own = queries + head * wide, *both = expanded + head * from;
                X *to = q + head * wide, *shared = k + head * wide;
                std::memcpy(to, own, nope);
                turn(own + w.nope, to + w.nope, c, s, half, at);
                std::memcpy(shared, both, nope);
                if (shared + w.nope != first) std::memcpy(shared + w.nope, first, rope);
                std::memcpy(v + head * w.value, both + w.nope, value);
            }
        }
    });
}

template <class X>
static void latent_heads_backward(const X* grad_q, const X* grad_k, const X* grad_v, const float* cos, const float* sin,
                                  X* grad_queries, X* grad_expanded, X* grad_key, int64_t rows, Widths w,
                                  bool interleaved, int threads) {
    const int64_t half = w.rope / 2, wide = w.nope + w.rope, from = w.nope + w.value;
    const Pairs at(w, interleaved);
    const size_t nope = sizeof(X) * size_t(w.nope), value = sizeof(X) * size_t(w.value);
    split(rows, threads, grain_of(w.heads * wide), [=](int64_t begin, int64_t end) {
        Scratch room(2 * w.rope);
        float *part = room.data(), *sum = part + w.rope;
        for (int64_t row = begin; row < end; row++) {
            const float *c = cos + row * half, *s = sin + row * half;
            for (int64_t i = 0; i < w.rope; i++) sum[i] = 0.0f;
            for (int64_t head = row * w.heads; head < (row + 1) * w.heads; head++) {
                const X *of_q = grad_q + head * wide, *of_k = grad_k + head * wide;
                std::memcpy(grad_queries + head * wide, of_q, nope);
                for (int64_t i = 0; i < w.rope; i++) part[i] = load(of_q + w.nope + i);
                turn_back(part, grad_queries + head * wide + w.nope, c, s, half, at);
                std::memcpy(grad_expanded + head * from, of_k, nope);
                std::memcpy(grad_expanded + head * from + w.nope, grad_v + head * w.value, value);
                for (int64_t i = 0; i < w.rope; i++) sum[i] += load(of_k + w.nope + i);
            }
            turn_back(sum, grad_key + row * w.rope, c, s, half, at);
        }
    });
}

constexpr int64_t SPAN = 32;  // tokens of one block of the cache (decode.cpp)

// One pass of a step with the up-projections absorbed. Token t stands at place places[t] of the sequence whose blocks
// are row rows[t] of `tables`, and sees the places up to its own; all new latents are kept before any is read. Latents
// are keys at their full width (rank numbers, then the rotary key) and values at the first `rank`.
template <class X>
struct Decode {
    const X *latent, *key;  // the newest tokens', rows latent_stride and key_stride apart
    int64_t latent_stride, key_stride;
    const X* norm;  // of latents (rank,)
    const float *cos, *sin;
    const X *keys_up, *values_up;  // W_UK (H, rank, nope), and W_UV's rows, `values_stride` from head to head
    int64_t values_stride;
    X* blocks;  // (num_blocks, SPAN, width)
    const int64_t *tables, *rows, *places;
    int64_t table_width, rank;
    float eps, scale;
    Widths w;
    bool interleaved;

    static constexpr int64_t HEADS = 4, COLUMNS = 32;  // of a weighted sum that fit the registers

    int64_t width() const { return rank + w.rope; }
    int64_t seen(int64_t t) const { return places[t] + 1; }
    // the block that holds place `place` of token t's sequence
    X* block(int64_t t, int64_t place) const {
        return blocks + tables[rows[t] * table_width + place / SPAN] * SPAN * width();
    }

    // the token's latent, normed, and rotated key to its place
    void keep(int64_t t) const {
        const X* from = latent + t * latent_stride;
        X* to = block(t, places[t]) + places[t] % SPAN * width();
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < rank; i++) squares += load(from + i) * load(from + i);
        const float inverse = 1.0f / std::sqrt(squares / float(rank) + eps);
        for (int64_t i = 0; i < rank; i++) store(to + i, load(from + i) * inverse * load(norm + i));
        const int64_t half = w.rope / 2;
        turn(key + t * key_stride, to + rank, cos + t * half, sin + t * half, half, Pairs(w, interleaved));
    }

    // q (T, H, nope + rope) of one head -> absorbed (T, width), and after attention mixed (T, rank) -> out (T, H, value)
    void absorb(const X* q, X* absorbed, int64_t head, int64_t count) const {
        const int64_t wide = w.nope + w.rope, half = w.rope / 2;
        std::vector<const X*> rows(size_t(count), nullptr);
        for (int64_t t = 0; t < count; t++) rows[size_t(t)] = q + (t * w.heads + head) * wide;
        Scratch room(count * rank);
        Rows<X>(rows.data(), count, w.nope).times(keys_up + head * rank * w.nope, 0, rank, room.data(), rank);
        for (int64_t t = 0; t < count; t++) {
            X* to = absorbed + (t * w.heads + head) * width();
            store_row(to, room.data() + t * rank, rank);
            turn(rows[size_t(t)] + w.nope, to + rank, cos + t * half, sin + t * half, half, Pairs(w, interleaved));
        }
    }

    void expand(const X* mixed, X* out, int64_t head, int64_t count) const {
        std::vector<const X*> rows(size_t(count), nullptr);
        for (int64_t t = 0; t < count; t++) rows[size_t(t)] = mixed + (t * w.heads + head) * rank;
        Scratch room(count * w.value);
        Rows<X>(rows.data(), count, rank).times(values_up + head * values_stride, 0, w.value, room.data(), w.value);
        for (int64_t t = 0; t < count; t++)
            store_row(out + (t * w.heads + head) * w.value, room.data() + t * w.value, w.value);
    }

    // heads [begin, end) of token t: absorbed queries -> mixed
    void attend(const X* absorbed, X* mixed, int64_t t, int64_t begin, int64_t end, float* room) const {
        const int64_t visible = seen(t), count = end - begin, first = t * w.heads;
        float *scores = room, *sum = scores + count * visible;
        std::vector<const X*> heads(size_t(count), nullptr);
        for (int64_t h = 0; h < count; h++) heads[size_t(h)] = absorbed + (first + begin + h) * width();
        const Rows<X> few(heads.data(), count, width());
        for (int64_t s = 0; s < visible; s += SPAN)
            few.times(block(t, s), 0, visible - s < SPAN ? visible - s : SPAN, scores + s, visible);
        for (int64_t h = 0; h < count; h++) {
            float* found = scores + h * visible;
            const float top = scale_and_top(found, visible, scale, -INFINITY);
            sum[h] = 1.0f / exp_and_sum(found, visible, top);
        }
        for (int64_t h = 0; h < count; h += HEADS)
            for (int64_t i = 0; i < rank; i += COLUMNS) {
                const int64_t heads_here = count - h < HEADS ? count - h : HEADS;
                const int64_t columns = rank - i < COLUMNS ? rank - i : COLUMNS;
                alignas(64) float made[HEADS][COLUMNS] = {};
                if (heads_here == HEADS && columns == COLUMNS)
                    weighted<HEADS, COLUMNS>(t, i, scores + h * visible, made, HEADS, COLUMNS);
                else
                    weighted<0, 0>(t, i, scores + h * visible, made, heads_here, columns);
                for (int64_t a = 0; a < heads_here; a++) {
                    for (int64_t c = 0; c < columns; c++) made[a][c] *= sum[h + a];
                    store_row(mixed + (first + begin + h + a) * rank + i, made[a], columns);
                }
            }
    }

    // made[a][c] = the sum of scores[a][s] * latent s [from + c] over what token t sees
    template <int64_t FIXED_HEADS, int64_t FIXED_COLUMNS>
    void weighted(int64_t t, int64_t from, const float* scores, float (*made)[COLUMNS], int64_t heads,
                  int64_t columns) const {
        const int64_t live_heads = FIXED_HEADS ? FIXED_HEADS : heads, live = FIXED_COLUMNS ? FIXED_COLUMNS : columns;
        const int64_t visible = seen(t);
        float sums[HEADS][COLUMNS] = {};  // of its own: in registers
        for (int64_t first = 0; first < visible; first += SPAN) {
            const X* row = block(t, first) + from;
            const int64_t last = visible - first < SPAN ? visible : first + SPAN;
            for (int64_t s = first; s < last; s++, row += width())
                for (int64_t a = 0; a < live_heads; a++) {
                    const float weight = scores[a * visible + s];
#pragma omp simd
                    for (int64_t c = 0; c < live; c++) sums[a][c] += weight * load(row + c);
                }
        }
        for (int64_t a = 0; a < HEADS; a++)
            for (int64_t c = 0; c < COLUMNS; c++) made[a][c] = sums[a][c];
    }

    void run(const X* q, X* out, int64_t count, int threads) const {
        const int64_t heads = w.heads;
        std::vector<X> absorbed(size_t(count * heads * width())), mixed(size_t(count * heads * rank));
        split(heads, threads, few_grain(count * rank * w.nope), [&](int64_t begin, int64_t end) {
            for (int64_t h = begin; h < end; h++) absorb(q, absorbed.data(), h, count);
        });
        int64_t most = 0;
        for (int64_t t = 0; t < count; t++) {
            keep(t);
            most = seen(t) > most ? seen(t) : most;
        }
        const int64_t parts = count < threads ? threads : 1;  // of a token's heads
        split(count * parts, threads, few_grain(2 * heads * width() * most / parts), [&](int64_t from, int64_t to) {
            Scratch room(heads * (most + 1));
            for (int64_t i = from; i < to; i++)
                attend(absorbed.data(), mixed.data(), i / parts, heads * (i % parts) / parts,
                       heads * (i % parts + 1) / parts, room.data());
        });
        split(heads, threads, few_grain(count * rank * w.value), [&](int64_t begin, int64_t end) {
            for (int64_t h = begin; h < end; h++) expand(mixed.data(), out, h, count);
        });
    }
};

#define LATENT(NAME, X)                                                                                            \
    API void latent_heads_##NAME(const X* queries, const X* expanded, const X* key, int64_t key_stride,            \
                                 const float* cos, const float* sin, X* q, X* k, X* v, int64_t rows,               \
                                 int64_t heads, int64_t nope, int64_t rope, int64_t value, int64_t interleaved,    \
                                 int threads) {                                                                    \
        latent_heads(queries, expanded, key, key_stride, cos, sin, q, k, v, rows,                                  \
                     Widths{heads, nope, rope, value}, interleaved != 0, threads);                                 \
    }                                                                                                              \
    API void latent_heads_backward_##NAME(const X* grad_q, const X* grad_k, const X* grad_v, const float* cos,     \
                                          const float* sin, X* grad_queries, X* grad_expanded, X* grad_key,        \
                                          int64_t rows, int64_t heads, int64_t nope, int64_t rope, int64_t value,  \
                                          int64_t interleaved, int threads) {                                      \
        latent_heads_backward(grad_q, grad_k, grad_v, cos, sin, grad_queries, grad_expanded, grad_key, rows,       \
                              Widths{heads, nope, rope, value}, interleaved != 0, threads);                        \
    }                                                                                                              \
    API void latent_decode_##NAME(const X* q, const X* latent, const X* key, const X* norm, const float* cos,      \
                                  const float* sin, const X* keys_up, const X* values_up, X* blocks,               \
                                  const int64_t* tables, const int64_t* rows, const int64_t* places, X* out,       \
                                  int64_t latent_stride, int64_t key_stride, int64_t values_stride,                \
                                  int64_t count, int64_t table_width, int64_t rank, int64_t heads, int64_t nope,   \
                                  int64_t rope, int64_t value, int64_t interleaved, float eps, float scale,        \
                                  int threads) {                                                                   \
        const Decode<X> step{latent, key, latent_stride, key_stride, norm, cos, sin, keys_up, values_up,           \
                             values_stride, blocks, tables, rows, places, table_width, rank, eps, scale,           \
                             Widths{heads, nope, rope, value}, interleaved != 0};                                  \
        step.run(q, out, count, threads);                                                                          \
    }

LATENT(f32, float)
LATENT(bf16, bf16)
