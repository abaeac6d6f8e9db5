// All layers of a latent-attention network in one call, for a step's few tokens: the kernels that each layer calls
// (ops/norm.py, panels.py, latent_heads.py, few.py), in its order. What Python does between them is a third of the step.
#include "coded.h"
#include "panels.h"
#include "rowwise.h"

API void latent_decode_bf16(const bf16*, const bf16*, const bf16*, const bf16*, const float*, const float*, const bf16*,
                              const bf16*, bf16*, const int64_t*, const int64_t*, const int64_t*, bf16*, int64_t,
                              int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                              int64_t, float, float, int);
API void few_routes_bf16(const bf16*, const float*, const float*, int64_t*, float*, int64_t, int64_t, int64_t,
                           int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, float, int);
API void few_experts_bf16(const bf16*, const int64_t*, const float*, const bf16*, const bf16*, const bf16*, const bf16*,
                            bf16*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int);
API void silu_mul_forward_bf16(const bf16*, bf16*, int64_t, int64_t, int);
API void panel_linear_bf16(const bf16*, const bf16*, const bf16*, bf16*, int64_t, int64_t, int64_t, int);

// As ops/latent_layers.py writes them, word for word. A layer has a network of its own (gate_up, down) or experts.
struct LatentLayer {
    Matrix a, q_b, out, gate_up, down;  // q_b and, with experts, the last two may have no rows
    const bf16 *norm, *post_norm, *query_norm, *latent_norm, *keys_up, *values_up;
    int64_t values_stride;
    const float *router, *router_bias;
    const bf16 *experts_gate_up, *experts_down, *shared_gate_up, *shared_down;
    int64_t experts, inner, shared;
};

struct LatentShape {
    int64_t size, rank, heads, nope, rope, value, interleaved;
    int64_t top_k, groups, kept_groups, softmax, biased, normalised;
    double factor, eps, latent_eps, scale;
};

struct LatentStep {
    const int64_t *tables, *rows, *places;
    int64_t table_width;
};

#ifdef HAS_PRODUCT
static void times(const Matrix& m, const bf16* x, bf16* out, int64_t tokens, int threads) {
    panel_linear_bf16(x, reinterpret_cast<const bf16*>(m.values), static_cast<const bf16*>(m.bias), out, tokens, m.rows,
                      m.depth, threads);
}

// x (tokens, size) float32 becomes the sum but for the last branch; ids (mixture layers, tokens, top_k) take the choices
// of experts; stores (layers,): where each one's latents lie.
API void latent_layers_bf16(const LatentLayer* layers, const LatentShape* words, bf16* const* stores,
                            const LatentStep* pass, const float* cos, const float* sin, float* x, bf16* branch,
                            int64_t* ids, int64_t count, int64_t tokens, int threads) {
    const LatentShape s = *words;
    const LatentStep step = *pass;
    const int64_t first = layers->q_b.rows ? layers->q_b.depth : layers->a.rows - s.rank - s.rope;
    const int64_t wide = layers->a.rows, queries = s.heads * (s.nope + s.rope), made = s.heads * s.value;
    int64_t inner = 0;
    for (int64_t l = 0; l < count; l++) inner = layers[l].down.depth > inner ? layers[l].down.depth : inner;
    Room<bf16> room({tokens * s.size, tokens * s.size, tokens * wide, tokens * first, tokens * queries, tokens * made,
                     tokens * 3 * inner});
    bf16 *normed = room.part(tokens * s.size), *delta = room.part(tokens * s.size), *a = room.part(tokens * wide);
    bf16 *narrow = room.part(tokens * first), *q = room.part(tokens * queries), *attended = room.part(tokens * made);
    bf16* gates = room.part(tokens * 3 * inner);
    Scratch weights(tokens * s.top_k);
    const auto norm = [&](const bf16* more, const bf16* weight) {
        for (int64_t t = 0; t < tokens; t++) {
            float* own = x + t * s.size;
            norm_row(own, more ? more + t * s.size : nullptr, weight, own, normed + t * s.size, s.size, float(s.eps));
        }
    };
    Crew::lead(threads, [&] {
        for (int64_t l = 0; l < count; l++) {
            const LatentLayer& layer = layers[l];
            norm(l ? branch : nullptr, layer.norm);
            times(layer.a, normed, a, tokens, threads);
            for (int64_t t = 0; t < tokens; t++) {
                const bf16* own = a + t * wide;
                if (layer.query_norm)
                    norm_row<bf16, bf16>(own, nullptr, layer.query_norm, nullptr, narrow + t * first, first,
                                         float(s.latent_eps));
                else
                    std::memcpy(q + t * first, own, sizeof(bf16) * size_t(first));
            }
            if (layer.query_norm) times(layer.q_b, narrow, q, tokens, threads);
            latent_decode_bf16(q, a + first, a + first + s.rank, layer.latent_norm, cos, sin, layer.keys_up, layer.values_up,
                               stores[l], step.tables, step.rows, step.places, attended, wide, wide, layer.values_stride,
                               tokens, step.table_width, s.rank, s.heads, s.nope, s.rope, s.value, s.interleaved,
                               float(s.latent_eps), float(s.scale), threads);
            times(layer.out, attended, delta, tokens, threads);
            norm(delta, layer.post_norm);
            if (!layer.experts) {
                bf16* middle = gates + tokens * 2 * layer.down.depth;
                times(layer.gate_up, normed, gates, tokens, threads);
                silu_mul_forward_bf16(gates, middle, tokens, layer.down.depth, threads);
                times(layer.down, middle, branch, tokens, threads);
                continue;
            }
            few_routes_bf16(normed, layer.router, layer.router_bias, ids, weights.data(), tokens, s.size, layer.experts,
                            s.top_k, s.groups, s.kept_groups, s.softmax, s.biased, s.normalised, float(s.factor), threads);
            few_experts_bf16(normed, ids, weights.data(), layer.experts_gate_up, layer.experts_down, layer.shared_gate_up,
                             layer.shared_down, branch, tokens, s.top_k, layer.experts, layer.inner, layer.shared, s.size,
                             threads);
            ids += tokens * s.top_k;
        }
    });
}
#endif
