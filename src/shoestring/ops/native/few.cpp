// The layers of a decode step, for its few tokens: a product, feed-forward networks, a router's choice.
#include "few.h"

static inline float silu(float x) { return x / (1.0f + fast_exp(-x > 80.0f ? 80.0f : -x)); }

// The pairs of each expert side by side: `own` are their tokens' rows, `middle` the rows of what is made of them.
template <class X>
struct Pairs {
    std::vector<int64_t> ends, order;
    std::vector<const X*> own, middle;

    Pairs(const X* x, const int64_t* ids, X* made, int64_t tokens, int64_t top_k, int64_t experts, int64_t inner,
          int64_t size)
        : ends(size_t(experts) + 1, 0), order(size_t(tokens * top_k)), own(order.size()), middle(order.size()) {
        for (size_t i = 0; i < order.size(); i++) ends[size_t(ids[i]) + 1]++;
        for (size_t e = 0; e < size_t(experts); e++) ends[e + 1] += ends[e];
        std::vector<int64_t> next(ends.begin(), ends.end() - 1);
        for (int64_t i = 0; i < tokens * top_k; i++) {
            const size_t place = size_t(next[size_t(ids[i])]++);
            order[place] = i;
            own[place] = x + i / top_k * size;
            middle[place] = made + int64_t(place) * inner;
        }
    }
};

// Numbers [begin, end) of what is inside a SwiGLU of `count` rows: gate_up (2 inner, size) -> made (count, inner)
template <class X>
static void inside(const X* gate_up, const X* const* rows, int64_t count, X* made, int64_t begin, int64_t end,
                   int64_t inner, int64_t size, float* room) {
    const int64_t wide = end - begin;
    float *gate = room, *up = room + count * wide;
    const Rows<X> few(rows, count, size);
    few.times(gate_up, begin, end, gate, wide);
    few.times(gate_up + inner * size, begin, end, up, wide);
    for (int64_t t = 0; t < count; t++) {
        float *g = gate + t * wide, *u = up + t * wide;
#pragma omp simd
        for (int64_t i = 0; i < wide; i++) g[i] = silu(g[i]) * u[i];
        store_row(made + t * inner + begin, g, wide);
    }
}

// out[t] = shared(x[t]) + sum_k weights[t, k] expert_ids[t, k](x[t]), each a SwiGLU. Either kind may be missing. First
// each thread makes a part of the inner numbers of all pairs, then a part of the outer ones: each weight is read once.
template <class X>
static void few_experts(const X* x, const int64_t* ids, const float* weights, const X* gate_up, const X* down,
                        const X* shared_gate_up, const X* shared_down, X* out, int64_t tokens, int64_t top_k,
                        int64_t experts, int64_t inner, int64_t shared, int64_t size, int threads) {
    const int64_t pairs = tokens * top_k;
    std::vector<X> made(size_t(pairs * inner)), all_made(size_t(tokens * shared));
    const Pairs<X> p(x, ids, made.data(), tokens, top_k, experts, inner, size);
    std::vector<const X*> all(size_t(tokens), nullptr), all_middle(size_t(tokens), nullptr);
    for (int64_t t = 0; t < tokens; t++) {
        all[size_t(t)] = x + t * size;
        all_middle[size_t(t)] = all_made.data() + t * shared;
    }
    const int64_t lanes = inner ? inner : shared;
    const int64_t work = (pairs * inner + tokens * shared) * size;
    split_lanes(lanes, threads, 2 * work / lanes, [&](int64_t begin, int64_t end) {
        // the shared ones' part, of whole LANES too
        const int64_t from = shared * begin / lanes / LANES * LANES;
        const int64_t to = end < lanes ? shared * end / lanes / LANES * LANES : shared;
        const int64_t widest = pairs * (end - begin) > tokens * (to - from) ? pairs * (end - begin) : tokens * (to - from);
        Scratch room(2 * widest);
        for (int64_t e = 0; e < experts; e++) {
            const int64_t first = p.ends[size_t(e)], count = p.ends[size_t(e) + 1] - first;
            if (count)
                inside(gate_up + e * 2 * inner * size, p.own.data() + first, count, made.data() + first * inner, begin,
                       end, inner, size, room.data());
        }
        if (shared) inside(shared_gate_up, all.data(), tokens, all_made.data(), from, to, shared, size, room.data());
    });
    split_lanes(size, threads, work / size, [&](int64_t begin, int64_t end) {
        const int64_t wide = end - begin;
        Scratch room(tokens * wide), more(pairs * wide);
        float *sum = room.data(), *part = more.data();
        if (shared)
            Rows<X>(all_middle.data(), tokens, shared).times(shared_down, begin, end, sum, wide);
        else
            std::memset(sum, 0, sizeof(float) * size_t(tokens * wide));
        for (int64_t e = 0; e < experts; e++) {
            const int64_t first = p.ends[size_t(e)], count = p.ends[size_t(e) + 1] - first;
            Rows<X>(p.middle.data() + first, count, inner).times(down + e * size * inner, begin, end, part, wide);
            for (int64_t i = 0; i < count; i++) {
                const int64_t pair = p.order[size_t(first + i)];
                const float weight = weights[pair];
                float *to = sum + pair / top_k * wide, *from = part + i * wide;
#pragma omp simd
                for (int64_t r = 0; r < wide; r++) to[r] += weight * from[r];
            }
        }
        for (int64_t t = 0; t < tokens; t++) store_row(out + t * size + begin, sum + t * wide, wide);
    });
}

// out[t, n] = weight[n] . x[t] + bias[n]; bias may be null
template <class X>
static void few_linear(const X* x, const X* weight, const X* bias, X* out, int64_t tokens, int64_t size, int64_t wide,
                       int threads) {
    std::vector<const X*> rows(size_t(tokens), nullptr);
    for (int64_t t = 0; t < tokens; t++) rows[size_t(t)] = x + t * size;
    split_lanes(wide, threads, tokens * size, [&](int64_t begin, int64_t end) {
        const int64_t part = end - begin;
        Scratch room(tokens * part);
        Rows<X>(rows.data(), tokens, size).times(weight, begin, end, room.data(), part);
        for (int64_t t = 0; t < tokens; t++) {
            float* made = room.data() + t * part;
            if (bias)
                for (int64_t i = 0; i < part; i++) made[i] += load(bias + begin + i);
            store_row(out + t * wide + begin, made, part);
        }
    });
}

// How a router chooses: the best two (V3) or the best one (V2) of each group rank the groups.
struct RouterRule {
    int64_t experts, top_k, groups, kept_groups;
    bool softmax, biased, normalised;
    float factor;
};

static void scores_of(float* scores, const RouterRule& rule) {
    if (rule.softmax) {
        const float sum = exp_and_sum(scores, rule.experts, scale_and_top(scores, rule.experts, 1.0f, -INFINITY));
        for (int64_t e = 0; e < rule.experts; e++) scores[e] /= sum;
    } else {
        for (int64_t e = 0; e < rule.experts; e++) scores[e] = sigmoid_of(scores[e]);
    }
}

static int64_t best_of(const float* values, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

// `choice` but for the best groups becomes -inf; `ranks` has room for a number a group
static void keep_groups(float* choice, float* ranks, const RouterRule& rule) {
    const int64_t each = rule.experts / rule.groups;
    for (int64_t g = 0; g < rule.groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int64_t i = g * each; i < (g + 1) * each; i++) {
            if (choice[i] > first) {
                second = first;
                first = choice[i];
            } else if (choice[i] > second) {
                second = choice[i];
            }
        }
        ranks[g] = rule.biased ? first + second : first;
    }
    for (int64_t k = 0; k < rule.kept_groups; k++) ranks[best_of(ranks, rule.groups)] = -INFINITY;
    for (int64_t g = 0; g < rule.groups; g++)
        if (ranks[g] != -INFINITY)
            for (int64_t i = g * each; i < (g + 1) * each; i++) choice[i] = -INFINITY;
}

// ids and weights (tokens, top_k) of the experts of x (tokens, size); weight (experts, size) and bias (experts,)
template <class X>
static void few_routes(const X* x, const float* weight, const float* bias, int64_t* ids, float* weights,
                       int64_t tokens, int64_t size, RouterRule rule, int threads) {
    split(tokens, threads, few_grain(rule.experts * size), [=](int64_t begin, int64_t end) {
        Scratch room(size + 2 * rule.experts + rule.groups);
        float *wide = room.data(), *scores = wide + size, *choice = scores + rule.experts, *ranks = choice + rule.experts;
        for (int64_t t = begin; t < end; t++) {
            for (int64_t i = 0; i < size; i++) wide[i] = load(x + t * size + i);
            for (int64_t e = 0; e < rule.experts; e++) scores[e] = dot_of(wide, weight + e * size, size);
            scores_of(scores, rule);
            for (int64_t e = 0; e < rule.experts; e++) choice[e] = rule.biased ? scores[e] + bias[e] : scores[e];
            if (rule.groups > 1) keep_groups(choice, ranks, rule);
            float sum = 1e-20f;
            for (int64_t k = 0; k < rule.top_k; k++) {
                const int64_t e = best_of(choice, rule.experts);
                choice[e] = -INFINITY;
                ids[t * rule.top_k + k] = e;
                weights[t * rule.top_k + k] = scores[e];
                sum += scores[e];
            }
            const float factor = rule.normalised ? rule.factor / sum : rule.factor;
            for (int64_t k = 0; k < rule.top_k; k++) weights[t * rule.top_k + k] *= factor;
        }
    });
}

#define FEW_TOKENS(NAME, X)                                                                                        \
    API void few_experts_##NAME(const X* x, const int64_t* ids, const float* weights, const X* gate_up,            \
                                const X* down, const X* shared_gate_up, const X* shared_down, X* out,              \
                                int64_t tokens, int64_t top_k, int64_t experts, int64_t inner, int64_t shared,     \
                                int64_t size, int threads) {                                                       \
        few_experts(x, ids, weights, gate_up, down, shared_gate_up, shared_down, out, tokens, top_k, experts,      \
                    inner, shared, size, threads);                                                                 \
    }                                                                                                              \
    API void few_linear_##NAME(const X* x, const X* weight, const X* bias, X* out, int64_t tokens, int64_t size,   \
                               int64_t wide, int threads) {                                                        \
        few_linear(x, weight, bias, out, tokens, size, wide, threads);                                             \
    }                                                                                                              \
    API void few_routes_##NAME(const X* x, const float* weight, const float* bias, int64_t* ids, float* weights,   \
                               int64_t tokens, int64_t size, int64_t experts, int64_t top_k, int64_t groups,       \
                               int64_t kept_groups, int64_t softmax, int64_t biased, int64_t normalised,           \
                               float factor, int threads) {                                                        \
        const RouterRule rule{experts, top_k, groups, kept_groups, softmax != 0, biased != 0, normalised != 0,     \
                              factor};                                                                             \
        few_routes(x, weight, bias, ids, weights, tokens, size, rule, threads);                                    \
    }

FEW_TOKENS(f32, float)
FEW_TOKENS(bf16, bf16)
