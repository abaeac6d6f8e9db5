"""A micro-batch taken apart into the texts that an endpoint is asked about."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shoestring.distill.http_logprobs import HttpLogprobs, whole_rows
from shoestring.distill.teacher_score import Scores
from shoestring.errors import ShoestringError
from shoestring.remote.endpoint import Endpoint
from shoestring.remote.spending import Budget
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch


def row(ids, trained):
    return Rendered(list(ids), [bool(t) for t in trained], "")


FAMILIES = [
    Family([1, 2, 3], [row([4, 5], [1, 1]), row([6, 7, 8], [1, 0, 1])]),  # as rollouts of one prompt
    Family([], [row([9, 10, 11, 12], [0, 1, 0, 1])]),  # a row of its own
    Family([13, 14], [row([15], [1])]),
]


class Known:
    """Says minus the sum of all before a token and itself; None for ids in `unknown`."""

    def __init__(self, unknown=(), top=True):
        self.unknown, self.top, self.asked = set(unknown), top, []
        self.turns = SimpleNamespace(budget=Budget(Endpoint(url="http://h/v1", model="m")))
        self.turns.budget.had(2.0, 0)

    def score_all(self, texts):
        self.asked += texts
        return [self.one(*text) for text in texts]

    def one(self, ids, start):
        places = range(start, len(ids))
        logprobs = [None if ids[i] in self.unknown else -float(sum(ids[: i + 1])) for i in places]
        return Scores(logprobs, [{1: -1.0, 2: -7.5} if self.top else {} for _ in logprobs])


def batch():
    packed = pack(FAMILIES)
    return MicroBatch(packed, torch.ones(len(packed.targets)))


def test_every_owner_gets_its_whole_text_and_the_places_of_its_targets():
    texts, places = whole_rows(pack(FAMILIES))
    assert [text.tolist() for text in texts] == [
        [1, 2, 3, 4, 5],
        [1, 2, 3, 6, 7, 8],
        [9, 10, 11, 12],
        [13, 14, 15],
    ]
    assert places == [[3, 4], [3, 5], [1, 3], [2]]
    for text, own, targets in zip(texts, places, ([4, 5], [6, 8], [10, 12], [15]), strict=True):
        assert text[own].tolist() == targets


def test_logprobs_come_in_the_order_of_the_targets():
    scorer, own = Known(), batch()
    found = HttpLogprobs(scorer, torch.arange(20))(own)
    texts, places = whole_rows(own.packed)
    pairs = zip(texts, places, strict=True)
    wanted = [-float(sum(text[: place + 1])) for text, several in pairs for place in several]
    assert found.tolist() == wanted
    assert scorer.asked[2] == ([9, 10, 11, 12], 1)
    assert own.packed.targets.tolist() == [4, 5, 6, 8, 10, 12, 15]


def test_ids_are_named_as_the_teacher_has_them():
    scorer = Known()
    HttpLogprobs(scorer, torch.from_numpy(np.arange(20)[::-1].copy()))(batch())
    assert scorer.asked[3] == ([6, 5, 4], 2)


def test_a_token_outside_the_endpoints_top_stands_with_the_least_likely_there_and_is_counted():
    logprobs = HttpLogprobs(Known(unknown=[8]), torch.arange(20))
    assert logprobs(batch()).tolist()[3] == -7.5
    assert logprobs.take_unknown() == pytest.approx(1 / 7)
    assert logprobs.take_unknown() == 0


def test_a_place_of_which_nothing_is_said_ends_the_run():
    with pytest.raises(ShoestringError, match="neither"):
        HttpLogprobs(Known(unknown=[8], top=False), torch.arange(20))(batch())


def test_what_was_paid_since_last_asked():
    known = Known()
    http = HttpLogprobs(known, torch.arange(100))  # 2 was paid by an earlier start
    assert http.take_paid() == 0
    known.turns.budget.spend(0.5, 0)
    assert http.take_paid() == 0.5
    assert http.take_paid() == 0
