"""What a handful of samples says before step 1."""

import pytest

from groups import group
from shoestring.engine.request import SamplingParams
from shoestring.rl.preflight import PreflightSettings, follow, measure
from shoestring.rl.rollout import Group
from shoestring.settings import build
from tiny import Scripted, tiny_lm


def cut(whole: Group) -> Group:
    from groups import rollout

    rollouts = [rollout(0.0, 4, cut=True, number=i) for i, _ in enumerate(whole.rollouts)]
    return Group(whole.problem, "sums", rollouts)


def test_rates_are_counted_by_hand():
    groups = [group([1.0, 0.0, 0.0]), group([0.0] * 3, name="q"), group([1.0] * 3, name="r")]
    seen = measure(groups, 8, [2.0] * 9, 1.5)
    assert (seen.prompts, seen.samples, seen.tokens) == (3, 3, 18)
    assert (seen.pass_at_1, seen.pass_at_g) == (4 / 9, 2 / 3)
    assert (seen.truncated, seen.live) == (0.0, 1 / 3)
    assert seen.rewards == {"0": 5, "1": 4}
    assert seen.cap == 2
    assert seen.refusal(PreflightSettings()) is None
    assert len(seen.lines()) == 1


def test_the_cap_holds_95_percent():
    groups = [group([1.0] * 100)]
    lengths = [float(n) for n in range(1, 101)]
    assert measure(groups, 8, lengths, 0.0).cap == 95
    assert measure(groups, 8, [1.0] * 94 + [float("inf")] * 6, 0.0).cap is None
    assert measure(groups, 8, [1.0] * 95 + [float("inf")] * 5, 0.0).cap == 1


def test_above_half_truncated_is_refused_with_a_cap():
    groups = [cut(group([0.0] * 4)), group([1.0] * 3, name="q")]
    seen = measure(groups, 4, [2.0, 2.0, 2.0, 9.0, 10.0, 11.0, 12.0], 0.0)
    refusal = seen.refusal(PreflightSettings())
    assert refusal is not None
    assert "truncated" in refusal
    assert "12" in refusal
    assert seen.refusal(build(PreflightSettings, {"max_truncated": 1.0}, "p")) is None


def test_nothing_right_asks_for_a_cold_start():
    lines = measure([group([0.0] * 4)], 8, [2.0] * 4, 0.0).lines()
    assert any("cold start first" in line for line in lines)


@pytest.mark.parametrize(("extra", "lengths"), [(3, 8.0), (11, 16.0), (40, float("inf"))])
def test_cut_replies_are_followed_to_their_end(extra, lengths):
    """The reply was cut at 4 tokens and needs `extra` more, the end of turn among them."""
    lm = tiny_lm()
    generator = Scripted(lm, lambda text, sample: "x" * (extra if extra != 3 else 3))
    groups = [cut(group([0.0] * 2)), group([1.0], name="q")]
    found = follow(generator, groups, SamplingParams(max_tokens=4, n=2), 2048)
    assert found[:1] == [2.0]
    assert found[1:] == [lengths] * 2
    assert [params.max_tokens for _, params, _ in generator.asked] == [12, 12]
    assert [text for text, _, _ in generator.asked] == [lm.tokenizer.decode([10, 11, 12, 20, 21, 22, 23])] * 2
