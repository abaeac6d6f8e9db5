"""What is kept of a step: all of it, and enough to make the update's inputs again."""

import random
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from groups import group, problem
from shoestring.origin import Origin
from shoestring.rl.advantage import group_advantages
from shoestring.rl.batch import make_batches
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.rollout import Group, Rollout, Sequence
from shoestring.rl.store import SCHEMA, advantages, rollout_rows
from shoestring.run import Stage
from shoestring.tasks.base import Outcome, Problem, Verdict
from shoestring.text.message import Reply
from tiny import tiny_lm


def made(name: str, rewards: list[float | None], rng: random.Random, length: int = 9) -> Group:
    """With ids and logprobs as a sampler's."""
    plain = group(rewards, [rng.randrange(1, length) for _ in rewards], name)
    rollouts = [
        replace(
            r,
            sequence=replace(
                r.sequence,
                row_id=f"7/{r.problem.id}/{i}",
                ids=[rng.randrange(250) for _ in r.sequence.ids],
                logprobs=[-rng.random() for _ in r.sequence.ids],
                finish_reason="stop",
            ),
        )
        for i, r in enumerate(plain.rollouts)
    ]
    return replace(plain, rollouts=rollouts)


def kept(folder: Path, groups: list[Group], scale: str = "none") -> list[dict]:
    rows = rollout_rows(3, groups, tiny_lm(), scale, seed=5)  # type: ignore[arg-type]
    Stage(folder, "zero").rollouts(3, rows, SCHEMA)
    return pq.read_table(folder / "rollouts/step-000003.parquet").to_pylist(maps_as_pydicts="strict")


def rebuilt(rows: list[dict]) -> list[Group]:
    """Groups from a file's rows alone."""
    found: dict[str, list[Rollout]] = {}
    for row in rows:
        asked = Problem("", "", "", row["prompt"], {}, Origin("", ""))
        sequence = Sequence(row["prompt_ids"], row["ids"], row["logprobs"], row["version"], row["row_id"])
        verdict = Verdict(Outcome(row["outcome"]), row["value"])
        reply = Reply(row["reasoning"], row["answer"], row["cut"])
        found.setdefault(row["group"], []).append(Rollout(asked, sequence, reply, verdict, row["reward"]))
    return [Group(rollouts[0].problem, "", rollouts) for rollouts in found.values()]


def test_every_column_is_filled_from_the_sample(tmp_path):
    own = made("a", [1.0, 0.0, None], random.Random(0))
    first = replace(
        own.rollouts[0],
        reply=Reply("because", "1"),
        verdict=Verdict(Outcome.RIGHT, 1.0, {"accuracy": 1.0}, "as it should be"),
        parts={"format": 0.5},
    )
    rows = kept(tmp_path, [replace(own, rollouts=[first, *own.rollouts[1:]])])
    assert list(rows[0]) == SCHEMA.names
    sequence = first.sequence
    assert rows[0] == {
        "step": 3,
        "group": f"7/{problem('a').id}",
        "row_id": f"7/{problem('a').id}/0",
        "problem": problem("a").id,
        "suite": "sums",
        "prompt": "What is a?",
        "prompt_ids": sequence.prompt,
        "ids": sequence.ids,
        "completion": tiny_lm().tokenizer.decode(sequence.ids),
        "reasoning": "because",
        "answer": "1",
        "outcome": "right",
        "value": 1.0,
        "parts": {"accuracy": 1.0, "format": 0.5},
        "reward": 1.0,
        "advantage": 0.5,
        "logprobs": pytest.approx(sequence.logprobs, abs=1e-6),
        "detail": "as it should be",
        "cut": False,
        "finish_reason": "stop",
        "tokens": len(sequence.ids),
        "trained": None,
        "turns": 1,
        "tool_calls": None,
        "live": True,
        "version": 0,
        "seed": 5,
    }
    assert [(row["reward"], row["advantage"]) for row in rows] == [(1.0, 0.5), (0.0, -0.5), (None, None)]
    assert rows[1]["parts"] == {}


def test_rows_name_every_column_and_no_other():
    rows = rollout_rows(1, [made("a", [1.0, 0.0], random.Random(0))], tiny_lm(), "none", 0)
    assert set(rows[0]) == set(SCHEMA.names)


def test_special_tokens_are_seen_in_the_text(tmp_path):
    own = made("a", [1.0, 0.0], random.Random(0))
    end = tiny_lm().tokenizer.token_id("<|im_end|>")
    ended = replace(
        own.rollouts[0], sequence=replace(own.rollouts[0].sequence, ids=[65, end], logprobs=[-1.0] * 2)
    )
    rows = kept(tmp_path, [replace(own, rollouts=[ended, *own.rollouts[1:]])])
    assert rows[0]["completion"].endswith("<|im_end|>")


def test_a_group_without_a_difference_has_no_advantages():
    assert advantages(group([0.5, 0.5, None]), "none") == [None] * 3


@pytest.mark.parametrize("scale", ["none", "group_std"])
@pytest.mark.parametrize("average", ["token_mean", "sequence_mean", "constant"])
def test_the_updates_inputs_come_out_of_the_file_as_they_were(tmp_path, scale, average):
    rng = random.Random(1)
    live = [
        made("a", [1.0, 0.0, 0.25, None], rng),
        made("b", [0.0, 0.0, 1.0, 1.0], rng),
        made("c", [None, 1.0, 0.0, 0.5], rng),
    ]
    dead = [made("d", [0.0] * 4, rng), made("e", [None] * 4, rng)]
    settings = PolicyLossSettings(average=average, scale=scale)
    rows = kept(tmp_path, [*live, *dead], scale)
    again = [g for g in rebuilt(rows) if g.live]
    was, now = (make_batches(groups, settings, 12, 40) for groups in (live, again))
    assert len(was) == len(now) > 1  # the file's order gives the same micro-batches
    for a, b in zip(was, now, strict=True):
        for name in ("weights", "advantages", "sampler_logprobs"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        for name in ("ids", "positions", "starts", "lengths", "parents", "predict_from", "targets", "owners"):
            assert (getattr(a.packed, name) == getattr(b.packed, name)).all(), name
    # and the advantages that are kept are those of the kept rewards
    for g in again:
        held = [row for row in rows if row["row_id"] in {r.sequence.row_id for r in g.rollouts}]
        given = [row["advantage"] for row in held if row["reward"] is not None]
        assert given == group_advantages(g.rewards, scale)
        assert all(row["advantage"] is None for row in held if row["reward"] is None)
    assert all(row["advantage"] is None for row in rows if not row["live"])


def test_ids_and_logprobs_of_a_step_are_small(tmp_path):
    """256 samples of 100 tokens, no token or number like another: at most 8 bytes a token (int32 + float32)
    and what the text takes."""
    rng = random.Random(2)
    groups = [made(f"p{i}", [1.0, *[0.0] * 15], rng, length=100) for i in range(16)]
    rows = kept(tmp_path, groups)
    tokens = sum(row["tokens"] for row in rows)
    assert (tmp_path / "rollouts/step-000003.parquet").stat().st_size < 12 * tokens
