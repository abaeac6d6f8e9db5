"""Rank 0 does a job and sees one Learner."""

from pathlib import Path

import pytest

from ranks import run
from ranks_work import V3_OBJECTIVES, Case, alone, compare, led

CASE = Case(objectives=V3_OBJECTIVES, steps=4)


@pytest.mark.slow
def test_a_job_on_rank_0_sees_one_learner_and_goes_on_from_its_state(tmp_path: Path) -> None:
    want = alone(CASE)
    first, nothing = run(2, led, CASE, tmp_path, False, expert=2)
    assert nothing is None
    then, _ = run(2, led, CASE, tmp_path, True)
    assert first.losses + then.losses == pytest.approx(want.losses, abs=1e-5)
    want.losses, want.norms, want.mtp = want.losses[2:], want.norms[2:], want.mtp[2:]
    want.max_vio, want.logprobs = want.max_vio[2:], want.logprobs[2:]
    compare(want, then)  # the copy's weights too
