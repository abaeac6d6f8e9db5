"""How far two readers are apart, against numbers worked out by hand."""

import math

import pytest
import torch

from shoestring.release.proof import EXACT, LIMITS, ROUNDED, faults_of, limits_for, looser
from shoestring.release.reading import Reading, apart

A = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.3, 0.1]]).log()
B = torch.tensor([[0.25, 0.5, 0.25], [0.6, 0.3, 0.1]]).log()


def reading(rows, tokens, name="other") -> Reading:
    return Reading(name, "float32", tokens, rows)


def test_the_same_is_no_distance_away():
    found = apart(reading([A], [[0, 0]]), reading([A], [[0, 0]]))
    assert (found.kl_mean, found.flips, found.logprob_error_max) == (0, 0, 0)
    assert found.differences == ()
    assert faults_of(found, EXACT) == []


def test_divergence_flips_and_the_first_other_token():
    found = apart(reading([A], [[0, 0]]), reading([B], [[1, 2]]))
    assert found.kl_max == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert found.kl_mean == pytest.approx(found.kl_max / 2)
    assert (found.flips, found.places) == (0.5, 2)
    assert found.choices == [[1, 0]]
    (first,) = found.differences
    assert (first.prompt, first.place, first.model, first.reader) == (0, 0, 0, 1)
    assert first.gap == pytest.approx(math.log(2))
    said = faults_of(found, ROUNDED)
    assert "in prompt 1 token 1 is 1, not 0" in said[0]
    assert "mean KL 0.0866" in said[1]


def test_another_token_at_a_near_tie_is_the_same_model():
    near = torch.tensor([[0.501, 0.499, 0.0001], [0.6, 0.3, 0.1]])
    near = (near / near.sum(-1, keepdim=True)).log()
    found = apart(reading([near], [[0, 0]]), reading([near], [[1, 1]]))
    assert faults_of(found, ROUNDED) == []
    assert len(faults_of(found, EXACT)) == 1


def test_what_the_likeliest_alone_say_is_a_lower_bound():
    whole = apart(reading([A], [[0, 0]]), reading([B], [[0, 0]]))
    told = [[{1: math.log(0.5)}, {0: math.log(0.6), 1: math.log(0.3)}]]
    with pytest.raises(ValueError, match="unpack"):  # a lead needs two
        apart(reading([A], [[0, 0]]), reading(told, [[0, 0]]))
    told[0][0][2] = math.log(0.25)
    part = apart(reading([A], [[0, 0]]), reading(told, [[0, 0]]))
    assert part.kl_max == pytest.approx(whole.kl_max)  # two of three say all of it
    merged = [[{1: math.log(0.5), 0: math.log(0.25)}, {0: math.log(0.6), 1: math.log(0.3)}]]
    assert apart(reading([A], [[0, 0]]), reading(merged, [[0, 0]])).kl_max <= whole.kl_max + 1e-6
    assert part.flips == 0.5


def test_a_reader_that_stops_early_is_compared_as_far_as_it_went():
    assert apart(reading([A], [[0, 0]]), reading([A], [[0]])).differences == ()


def test_faults_of_the_reader_itself_are_told():
    other = reading([A], [[0, 0]])
    other.faults.append("it renders 3 of 32 prompts otherwise")
    assert faults_of(apart(reading([A], [[0, 0]]), other), EXACT) == [
        "other: it renders 3 of 32 prompts otherwise"
    ]


def test_limits():
    assert limits_for("q8_0", exact=True) is EXACT
    assert limits_for("q8_0", exact=False).near is None
    assert looser(EXACT).near == ROUNDED.near
    assert looser(LIMITS["q4_0"]).near is None


def test_no_number_is_no_pass():
    found = apart(reading([A], [[0, 0]]), reading([torch.full_like(A, float("nan"))], [[0, 0]]))
    assert faults_of(found, LIMITS["q4_0"])
