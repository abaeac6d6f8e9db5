// The routed experts of a mixture layer with quantised weights. A pair is a token and one of its experts.
#include "quantized.h"
#include "rowwise.h"

// Where each pair's row lies: an expert's side by side, from a whole tile on.
struct PairRows {
    struct Run {
        int64_t expert, begin, end;
    };
    std::vector<Run> runs;      // of the experts that have pairs
    std::vector<int64_t> row;   // of a pair
    int64_t rows = 0;

    PairRows(const int64_t* ids, int64_t pairs, int64_t experts) : row(size_t(pairs)) {
        std::vector<int64_t> next(size_t(experts), 0);
        for (int64_t i = 0; i < pairs; i++) next[size_t(ids[i])]++;
        for (int64_t e = 0; e < experts; e++) {
            const int64_t count = next[size_t(e)];
            next[size_t(e)] = rows;
            if (count) runs.push_back({e, rows, rows + count});
            rows += (count + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
        }
        for (int64_t i = 0; i < pairs; i++) row[size_t(i)] = next[size_t(ids[i])]++;
    }
};

// out[row] = its expert's part of the matrix . x[row]; the part has `wide` of the matrix's rows
template <class X, class Y>
static void times_of_experts(const Matrix& m, const Coded& x, const PairRows& pairs, int64_t wide, Y* out, int threads) {
    const int64_t panels = wide / LANES, runs = int64_t(pairs.runs.size());
    const int64_t work = int64_t(pairs.row.size()) * LANES * m.depth / (runs ? runs : 1);  // of a panel
    split(runs * panels, threads, few_grain(work), [&](int64_t begin, int64_t end) {
        for (int64_t at = begin; at < end;) {
            const PairRows::Run& run = pairs.runs[size_t(at / panels)];
            const int64_t first = at % panels, last = first + end - at < panels ? first + end - at : panels;
            coded_times<X>(m.part(run.expert * wide, wide), x, run.begin, run.end, first, last, out, wide);
            at += last - first;
        }
    });
}

// out[t] = sum_k weights[t, k] expert_ids[t, k](x[t]), each a SwiGLU; both matrices have all experts' rows in turn
template <class X>
static void coded_experts(const X* x, const int64_t* ids, const float* weights, const Matrix& gate_up,
                          const Matrix& down, X* out, int64_t tokens, int64_t top_k, int64_t experts, int threads) {
    const int64_t size = gate_up.depth, inner = down.depth, count = tokens * top_k;
    const PairRows pairs(ids, count, experts);
    Coded outer(pairs.rows, size), middle(pairs.rows, inner);
    Room<X> room({pairs.rows * 2 * inner});
    X* gates = room.part(pairs.rows * 2 * inner);
    Scratch parts(pairs.rows * size);
    Crew::lead(threads, [&] {
        split(count, threads, grain_of(size), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; i++) outer.set_row(pairs.row[size_t(i)], x + i / top_k * size);
        });
        times_of_experts<X>(gate_up, outer, pairs, 2 * inner, gates, threads);
        split(count, threads, grain_of(inner), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; i++) {
                const int64_t row = pairs.row[size_t(i)];
                X* gate = gates + row * 2 * inner;
                silu_mul_row(gate, gate + inner, gate, inner);
                middle.set_row(row, gate);
            }
        });
        times_of_experts<X>(down, middle, pairs, size, parts.data(), threads);
        split(tokens, threads, grain_of(top_k * size), [&](int64_t begin, int64_t end) {
            std::vector<float> sum(size_t(size), 0.0f);
            for (int64_t t = begin; t < end; t++) {
                std::fill(sum.begin(), sum.end(), 0.0f);
                for (int64_t k = t * top_k; k < (t + 1) * top_k; k++) {
                    const float weight = weights[k], *part = parts.data() + pairs.row[size_t(k)] * size;
#pragma omp simd
                    for (int64_t i = 0; i < size; i++) sum[size_t(i)] += weight * part[i];
                }
                store_row(out + t * size, sum.data(), size);
            }
        });
    });
}

#define EXPERTS(NAME, X)                                                                                           \
    API void coded_experts_##NAME(const X* x, const int64_t* ids, const float* weights, const Matrix* gate_up,     \
                                  const Matrix* down, X* out, int64_t tokens, int64_t top_k, int64_t experts,      \
                                  int threads) {                                                                   \
        coded_experts(x, ids, weights, *gate_up, *down, out, tokens, top_k, experts, threads);                     \
    }

EXPERTS(f32, float)
EXPERTS(bf16, bf16)
