// The products with a quantised matrix as a program, for a processor that isn't this one: reads
// tokens, depth, rows, bits and whether there are mins (int64 each), then rows, values, scales, mins; writes the result.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "quantized.cpp"

template <class X>
static std::vector<X> take(int64_t count) {
    std::vector<X> found;
    found.resize(size_t(count));
    if (std::fread(found.data(), sizeof(X), found.size(), stdin) != found.size()) std::abort();
    return found;
}

int main() {
    const auto sizes = take<int64_t>(5);
    const int64_t tokens = sizes[0], depth = sizes[1], rows = sizes[2], bits = sizes[3];
    const auto x = take<float>(tokens * depth);
    Matrix m{bits, rows, depth, nullptr, nullptr, nullptr, nullptr, 0};
    const int64_t groups = m.panels() * m.groups();
    const auto values = take<uint8_t>(groups * LANES * SIZE * bits / 8);
    const auto scales = take<uint16_t>(groups * LANES), mins = take<uint16_t>(sizes[4] ? groups * LANES : 0);
    m.values = values.data(), m.scales = scales.data(), m.mins = sizes[4] ? mins.data() : nullptr;
    std::vector<float> made;
    made.resize(size_t(tokens * rows));
    coded_linear_f32(x.data(), &m, made.data(), tokens, 1);
    std::fwrite(made.data(), sizeof(float), made.size(), stdout);
    std::fprintf(stderr, "%d\n", coded_kind());
}
