"""A turn is one round of large square products: the peak that the other figures are held against."""

import statistics
import time
from typing import Any

from turns import Turns


def gflops(size: int, dtype: Any, times: int) -> float:
    """Median over `times` products; 2 n^3 FLOPs each."""
    import torch

    a, b = (torch.rand(size, size).to(dtype) for _ in range(2))
    torch.mm(a, b)
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds) / 1e9


def main() -> None:
    with Turns() as turns:
        import torch

        size, times = turns.spec["size"], turns.spec["times"]
        gflops(size, torch.bfloat16, 1)
        turns.ready()
        for _ in turns:
            turns.answer(
                bf16_gflops=gflops(size, torch.bfloat16, times),
                fp32_gflops=gflops(size, torch.float32, times),
            )


if __name__ == "__main__":
    main()
