// Whole heads of latent attention from what its products leave, in one pass: rotating the rotary parts, giving every
// head the shared key, and taking keys and values apart. Backward is the same pass the other way.
#include <vector>

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

// One pass of a decode step: `tokens` new ones in each slot. A slot's query sees its group's prompt and its own row up
// to itself. Latents are keys at their full width and values at the first `rank` numbers.
struct LatentRooms {
    int64_t tokens, heads, width, rank, prompt, own;
    float scale;
};

template <class X>
static void one_slot(const X* q, const X* latent, const X* prompt, int64_t prompt_length, X* own, int64_t own_length,
                     X* out, LatentRooms r, float* room) {
    std::memcpy(own + own_length * r.width, latent, sizeof(X) * size_t(r.tokens * r.width));
    const int64_t longest = prompt_length + own_length + r.tokens;
    float *scores = room, *found = scores + r.heads * longest, *sum = found + r.heads;
    std::vector<const X*> heads(size_t(r.heads), nullptr);
    for (int64_t t = 0; t < r.tokens; t++) {
        const int64_t seen = prompt_length + own_length + t + 1;
        for (int64_t h = 0; h < r.heads; h++) heads[size_t(h)] = q + (t * r.heads + h) * r.width;
        const auto row_of = [&](int64_t s) {
            return s < prompt_length ? prompt + s * r.width : own + (s - prompt_length) * r.width;
        };
        for (int64_t s = 0; s < seen; s++) {
            dots_of(row_of(s), heads.data(), r.heads, r.width, found);
            for (int64_t h = 0; h < r.heads; h++) scores[h * longest + s] = found[h];
        }
        for (int64_t h = 0; h < r.heads; h++) {
            float* mine = scores + h * longest;
            const float top = scale_and_top(mine, seen, r.scale, -INFINITY);
            found[h] = 1.0f / exp_and_sum(mine, seen, top);
        }
        for (int64_t i = 0; i < r.heads * r.rank; i++) sum[i] = 0.0f;
        for (int64_t s = 0; s < seen; s++) {
            const X* row = row_of(s);
            for (int64_t h = 0; h < r.heads; h++) {
                const float weight = scores[h * longest + s] * found[h];
                float* to = sum + h * r.rank;
#pragma omp simd
                for (int64_t i = 0; i < r.rank; i++) to[i] += weight * load(row + i);
            }
        }
        for (int64_t i = 0; i < r.heads * r.rank; i++) store(out + t * r.heads * r.rank + i, sum[i]);
    }
}

template <class X>
static void latent_decode(const X* q, const X* latent, const X* prompts, X* own, const int64_t* prompt_lengths,
                          const int64_t* own_lengths, const int64_t* group_of, X* out, int64_t slots, LatentRooms r,
                          int threads) {
    int64_t most = 0;
    for (int64_t a = 0; a < slots; a++) {
        const int64_t seen = prompt_lengths[group_of[a]] + own_lengths[a] + r.tokens;
        most = seen > most ? seen : most;
    }
    split(slots, threads, grain_of(r.tokens * r.heads * r.width * most / 8), [=](int64_t begin, int64_t end) {
        Scratch room(r.heads * (most + 1 + r.rank));
        for (int64_t a = begin; a < end; a++) {
            const int64_t group = group_of[a], first = a * r.tokens;
            one_slot(q + first * r.heads * r.width, latent + first * r.width, prompts + group * r.prompt * r.width,
                     prompt_lengths[group], own + a * r.own * r.width, own_lengths[a], out + first * r.heads * r.rank,
                     r, room.data());
        }
    });
}

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
    API void latent_decode_##NAME(const X* q, const X* latent, const X* prompts, X* own,                           \
                                  const int64_t* prompt_lengths, const int64_t* own_lengths,                       \
                                  const int64_t* group_of, X* out, int64_t slots, int64_t tokens, int64_t heads,   \
                                  int64_t width, int64_t rank, int64_t prompt_room, int64_t own_room, float scale, \
                                  int threads) {                                                                   \
        latent_decode(q, latent, prompts, own, prompt_lengths, own_lengths, group_of, out, slots,                  \
                      LatentRooms{tokens, heads, width, rank, prompt_room, own_room, scale}, threads);             \
    }

LATENT(f32, float)
LATENT(bf16, bf16)
