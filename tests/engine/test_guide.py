"""What the engine makes of guides: masks, forced tokens, stops, several at once, those that can't agree."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from shoestring.engine.engine import Engine
from shoestring.engine.guide import LOOP, Guides
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.lm import LanguageModel
from tiny import tiny_lm
from tiny_v3 import tiny_v3

PROMPT = [5, 9, 200, 31]
WORDS = 259


class Script:
    """A guide that says what it is told to at each place; what it sees is kept by sample."""

    def __init__(self, allowed=None, forced=None, stops=None) -> None:
        self.allowed: dict[int, Sequence[int]] = allowed or {}
        self.forced: dict[int, int] = forced or {}
        self.stops: dict[int, str] = stops or {}
        self.seen: dict[int, list[int]] = {}

    def start(self, sample: int) -> "Steered":
        self.seen[sample] = []
        return Steered(self, self.seen[sample])


class Steered:
    def __init__(self, script: Script, seen: list[int]) -> None:
        self.script, self.seen = script, seen

    def allowed(self) -> Tensor | None:
        ids = self.script.allowed.get(len(self.seen))
        if ids is None:
            return None
        mask = torch.zeros(WORDS, dtype=torch.bool)
        mask[list(ids)] = True
        return mask

    def forced(self) -> int | None:
        return self.script.forced.get(len(self.seen))

    def take(self, token: int) -> None:
        self.seen.append(token)

    def stop(self) -> str:
        return self.script.stops.get(len(self.seen), "")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm()


def params_of(guide, **asked) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 8, "temperature": 0.8, "ignore_eos": True, "guide": guide} | asked)


def test_masks_forced_tokens_and_stops(lm):
    script = Script({1: [7, 8], 2: [9]}, {3: 40, 4: 41}, {6: "enough"})
    (samples,) = Engine(lm).generate([PROMPT], params_of(script, n=3, top_logprobs=4))
    for number, made in enumerate(samples):
        assert made.ids[1] in (7, 8)
        assert made.ids[2:5] == [9, 40, 41]
        assert len(made.ids) == 6
        assert (made.finish_reason, made.stopped_by, made.cut) == (FinishReason.STOP, "enough", False)
        assert made.logprobs[2:5] == [0.0] * 3  # nothing else could come
        assert set(made.top_logprobs[1]) == {7, 8}
        assert made.top_logprobs[3] == {40: 0.0}
        raw = (lm.logits([PROMPT + made.ids[:1]])[0, -1][[7, 8]] / 0.8).log_softmax(-1)
        assert made.logprobs[1] == pytest.approx(raw[made.ids[1] - 7].item(), abs=1e-4)
        assert made.logprob_meaning == "guided"
        assert script.seen[number] == made.ids


def test_a_guide_that_says_nothing_changes_nothing(lm):
    for temperature in (0.0, 0.8):
        plain = params_of(None, temperature=temperature, n=4)
        guided = params_of(Script(), temperature=temperature, n=4)
        (one,), (other,) = Engine(lm).generate([PROMPT], plain), Engine(lm).generate([PROMPT], guided)
        assert [(c.ids, c.logprobs) for c in one] == [(c.ids, c.logprobs) for c in other]


def test_neighbours_are_not_steered(lm):
    plain = SamplingParams(max_tokens=8, temperature=0.8, ignore_eos=True)
    wanted = Engine(lm).generate([PROMPT], plain, ["a"])[0][0]
    engine = Engine(lm)
    number = engine.submit(PROMPT, plain, "a")
    engine.submit(PROMPT, params_of(Script({i: [7] for i in range(8)})), "b")
    assert dict(engine.completed())[number][0].ids == wanted.ids


def test_the_end_of_a_turn_is_not_asked_of_the_guide(lm):
    script = Script({1: [257]}, stops={2: "never"})
    (made,) = Engine(lm).generate([PROMPT], params_of(script, ignore_eos=False, stop_token_ids=(257,)))[0]
    assert (made.ids[-1], made.finish_reason, made.stopped_by) == (257, FinishReason.STOP, "")
    assert script.seen[0] == made.ids[:-1]


def test_what_a_loop_guard_ends_is_cut(lm):
    (made,) = Engine(lm).generate([PROMPT], params_of(Script(stops={2: LOOP})))[0]
    assert (made.stopped_by, made.cut) == (LOOP, True)


def test_several_guides(lm):
    one = Script({0: [1, 2, 3], 1: [4]}, {2: 50}, {5: "one"})
    two = Script({0: [2, 3, 9]}, {2: 51, 3: 52}, {5: "two", 4: ""})
    (made,) = Engine(lm).generate([PROMPT], params_of(Guides([one, two])))[0]
    assert made.ids[0] in (2, 3)
    assert made.ids[1:4] == [4, 50, 52]
    assert (len(made.ids), made.stopped_by) == (5, "one")
    assert one.seen == two.seen == {0: made.ids}


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize(
    ("guides", "why"),
    [
        ([Script({0: [1], 2: [1]}), Script({0: [2], 2: [2]})], "nothing is allowed"),
        ([Script({0: [1], 2: [1]}), Script(forced={0: 3, 2: 3})], "token 3 must come next"),
    ],
)
def test_guides_that_leave_nothing_end_their_request_alone(lm, guides, why, place):
    if place:
        guides = [Script({2: g.allowed[2]} if g.allowed else {}, {2: 3} if g.forced else {}) for g in guides]
    engine = Engine(lm)
    poisoned = engine.submit(PROMPT, params_of(Guides(guides)))
    sound = engine.submit(PROMPT, params_of(None))
    done = dict(engine.completed())
    (made,) = done[poisoned]
    assert (len(made.ids), made.finish_reason) == (place, FinishReason.ABORT)
    assert why in made.stopped_by
    assert len(done[sound][0].ids) == 8


@pytest.mark.parametrize("draft_tokens", [1, 3])
def test_guides_hold_where_others_are_drafted(draft_tokens):
    lm = tiny_v3()
    script = Script({i: [7, 8, 9] for i in range(2, 6)}, {7: 40}, {9: "enough"})
    guided, plain = params_of(script, max_tokens=20, n=2), params_of(None, max_tokens=20)
    wanted = [Engine(lm, draft_tokens=0).generate([PROMPT], p, ["a"])[0] for p in (guided, plain)]
    engine = Engine(lm, draft_tokens=draft_tokens)
    numbers = [engine.submit(PROMPT, p, "a") for p in (guided, plain)]
    done = dict(engine.completed())
    for number, alone in zip(numbers, wanted, strict=True):
        assert [c.ids for c in done[number]] == [c.ids for c in alone]
        assert [c.stopped_by for c in done[number]] == [c.stopped_by for c in alone]
    assert engine.drafts is not None
    assert engine.drafts.drafted > 0


class Steady:
    """Forbids the same at every place, and wakes up at some."""

    def __init__(self, forced: dict[int, int], stop: int) -> None:
        self.forced, self.stop = forced, stop
        self.mask = torch.ones(WORDS, dtype=torch.bool)
        self.mask[3] = False

    def start(self, sample: int) -> "_Steady":
        return _Steady(self)


class _Steady:
    def __init__(self, guide: Steady) -> None:
        self.guide, self.made = guide, 0

    def allowed(self) -> Tensor | None:
        return self.guide.mask if self.made % 40 >= 10 else None

    def forced(self) -> int | None:
        return self.guide.forced.get(self.made)

    def take(self, token: int) -> None:
        self.made += 1

    def stop(self) -> str:
        return "enough" if self.made >= self.guide.stop else ""


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("make", [tiny_lm, tiny_v3])
def test_what_only_watches_is_drafted_and_its_tokens_are_those_without(make, temperature):
    """The tiny models go round in circles, which is looked up; a guide that wakes up between a draft's
    tokens holds from there on."""
    lm = make()
    guide = Steady({23: 40, 24: 41, 60: 42, 61: 5}, 95)
    params = params_of(guide, max_tokens=120, temperature=temperature)
    plain = Engine(lm, draft_tokens=0).generate([PROMPT * 3], params)[0][0]
    engine = Engine(lm, draft_tokens=3)
    made = engine.generate([PROMPT * 3], params)[0][0]
    assert (made.ids, made.stopped_by) == (plain.ids, plain.stopped_by)
    assert made.stopped_by == "enough"
    assert [made.ids[place] for place in guide.forced] == list(guide.forced.values())
    counted = engine.drafts or engine.lookups
    assert counted is not None
    if temperature == 0 or engine.drafts is not None:  # a sampled text of this model repeats nothing
        assert counted.drafted > 0
    if temperature == 0 and engine.lookups is not None:
        assert counted.accepted > 0
