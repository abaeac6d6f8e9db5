"""From a group's rewards to each sample's advantage."""

import math
from collections.abc import Sequence
from typing import Literal

Scale = Literal["none", "group_std"]


def group_advantages(rewards: Sequence[float], scale: Scale) -> list[float]:
    """A_i = r_i - mean(r), and with "group_std" divided by the group's standard deviation as in GRPO
    (DeepSeekMath, arXiv 2402.03300, section 4.1). "none" is Dr. GRPO's form (2503.20783): dividing gives
    questions that are nearly always right or wrong the largest weight. Population deviation; a group of equal
    rewards has advantage 0 in both."""
    mean = math.fsum(rewards) / len(rewards)
    centred = [r - mean for r in rewards]
    if scale == "none":
        return centred
    deviation = math.sqrt(math.fsum(c * c for c in centred) / len(rewards))
    return [c / deviation if deviation > 1e-6 else 0.0 for c in centred]
