"""Problems drawn again with replacement: the bootstrap of figures that aren't means."""

from collections.abc import Callable

import numpy as np

from shoestring.evals.statistics import Interval

DRAWS, CHUNK = 2_000, 100


def bootstrap(
    figure: Callable[[np.ndarray], np.ndarray], problems: int, seed: int = 0, draws: int = DRAWS
) -> Interval | None:
    """95 % percentile interval of `figure`, which takes how often each problem was drawn, (draws, problems),
    and gives one value a draw, nan where a draw has none; None where most have none. Values may be inf."""
    rng = np.random.default_rng(seed)
    even = np.full(problems, 1 / problems)
    parts = [figure(rng.multinomial(problems, even, size=CHUNK)) for _ in range(draws // CHUNK)]
    values = np.sort(np.concatenate(parts))
    values = values[~np.isnan(values)]
    if len(values) < draws / 2:
        return None
    # by place, not between two values: between a number and inf lies nothing
    low, high = (values[round(share * (len(values) - 1))] for share in (0.025, 0.975))
    return Interval(float(low), float(high))
