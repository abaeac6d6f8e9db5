"""A real llama.cpp server under evaluation, beside the same file here; skipped where there is none."""

import pytest

from llama_server import llama_server
from shoestring.evals.evaluate import evaluate
from shoestring.evals.result import Asking
from shoestring.evals.server import Server, mark_server
from shoestring.jobs.evaluate_server import endpoint_of
from shoestring.lm import load
from shoestring.models.bases import BASES
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite

pytestmark = [pytest.mark.slow, pytest.mark.base]
SUITE = parse_suite("sums:max_terms=2")


def test_its_score_is_that_of_the_same_file_here(tmp_path) -> None:
    """Its activations are in 8 bits, so a greedy reply may part from ours where two tokens are near: verdicts
    of most items are asked to be the same, and all that is counted to be."""
    n, cap = 8, 24
    system = "You answer sums with one number."
    with llama_server(BASES["smollm2-135m"].path) as url, Judge(workers=1) as judge:
        settings = {"concurrency": 2, "timeout_s": 300}
        asked = Server(endpoint_of(f"{url}#smollm2-135m", settings, "test"), tmp_path)
        asking = Asking(max_tokens=cap, system=system)
        there = mark_server(asked.ask(SUITE, n, 1, 0, asking, None), False, judge)
        lm = load("smollm2-135m", dtype="float32")
        here = evaluate(lm, SUITE, n=n, max_tokens=cap, system=system, judge=judge)
    pairs = list(zip(here.items, there.items, strict=True))
    assert [theirs.problem for _, theirs in pairs] == [ours.problem for ours, _ in pairs]
    assert [theirs.prompt_tokens for _, theirs in pairs] == [ours.prompt_tokens for ours, _ in pairs]
    assert sum(theirs.outcome == ours.outcome for ours, theirs in pairs) >= n - 2
    assert all(theirs.tokens <= cap for _, theirs in pairs)
    assert all((theirs.finish_reason == "length") == (theirs.tokens == cap) for _, theirs in pairs)
    assert there.server is not None
    assert there.server.guessed == 0
