"""A rollout of several turns in the update, the metrics and the files: what tools said counts nowhere."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch

from groups import group
from shoestring.engine import episode
from shoestring.engine.engine import Engine
from shoestring.engine.episode import Episode
from shoestring.engine.request import FinishReason, SamplingParams
from shoestring.rl.batch import make_batches
from shoestring.rl.held_out import HeldOut, HeldOutSettings
from shoestring.rl.loss import PolicyLoss
from shoestring.rl.loss_settings import NAMED, PolicyLossSettings
from shoestring.rl.measure import group_metrics, wasted_tokens
from shoestring.rl.reward import Reward, make_groups
from shoestring.rl.rollout import Asked, Group, judge_groups, sequence_of
from shoestring.rl.store import SCHEMA, rollout_rows
from shoestring.rl.token_stats import token_stats
from shoestring.rl.tool_metrics import decoded, tool_metrics
from shoestring.run import Stage
from shoestring.tasks.base import Outcome, Verdict
from shoestring.tasks.suite import parse_suite
from shoestring.tasks.tools import Calculator, CallMade, Toolbox
from shoestring.text.message import Reply
from shoestring.text.tool_calls import Asked as Spoken
from shoestring.text.tool_calls import ToolCall, write_calls
from shoestring.train.batch import MicroBatch, hidden_at_targets
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings
from tiny import Scripted, tiny_lm
from tiny_v3 import tiny_v3

# two tokens of the model's, three of a tool's, two of the model's
MASK = [True, True, False, False, False, True, True]
CALLS = (CallMade("calculator", "1+1", "2", False, 0.5), CallMade("", "", "error: not JSON", True))


def tooled(tool_ids=(90, 91, 92), tool_logprob: float = 0.0) -> Group:
    """The first of two samples has called tools, the second not."""
    plain = group([1.0, 0.0], [4, 3])
    first, second = plain.rollouts
    made = first.sequence.ids
    sequence = replace(
        first.sequence,
        ids=[*made[:2], *tool_ids, *made[2:]],
        logprobs=[-1.0, -1.5, *[tool_logprob] * 3, -2.0, -2.5],
        trained=MASK,
        calls=CALLS,
    )
    other = replace(second.sequence, trained=[True] * 3, calls=())
    return replace(plain, rollouts=[replace(first, sequence=sequence), replace(second, sequence=other)])


def batch_of(tooled_group: Group, average: str = "token_mean") -> MicroBatch:
    (batch,) = make_batches([tooled_group], PolicyLossSettings(average=average), 8, 1000)  # type: ignore[arg-type]
    return batch


def test_only_what_the_model_made_is_a_target():
    own = tooled()
    batch = batch_of(own)
    long, short = own.rollouts
    made = [i for i, t in zip(long.sequence.ids, MASK, strict=True) if t]
    assert batch.packed.targets.tolist() == [*short.sequence.ids, *made]  # the shorter one lies first
    assert set(long.sequence.ids[2:5]) <= set(batch.packed.ids.tolist())  # results are read all the same
    assert batch.sampler_logprobs is not None
    assert batch.sampler_logprobs.tolist()[3:] == [-1.0, -1.5, -2.0, -2.5]
    # a target behind a result is predicted from the result's last token
    predicting = batch.packed.ids[batch.packed.predict_from].tolist()
    assert predicting[5] == 92


@pytest.mark.parametrize(
    ("average", "weights"),
    [
        ("token_mean", [1 / 7] * 7),
        ("sequence_mean", [1 / 6] * 3 + [1 / 8] * 4),
        ("constant", [1 / 16] * 7),
    ],
)
def test_lengths_are_of_what_the_model_made(average, weights):
    assert batch_of(tooled(), average).weights.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("name", NAMED)
def test_a_results_logprob_changes_no_loss(name):
    settings = PolicyLossSettings.model_validate({"name": name})
    lm = tiny_lm()
    losses = []
    for logprob in (0.0, -30.0):
        batch = make_batches([tooled(tool_logprob=logprob)], settings, 8, 1000)[0]
        if settings.kl_coefficient:
            batch = replace(batch, reference_logprobs=batch.sampler_logprobs)
        learner = Learner(lm, OptimSettings(), 2)
        losses.append(learner.forward(batch, PolicyLoss(settings), 1.0)[0].item())
    assert losses[0] == losses[1] != 0.0


def test_the_loss_has_no_gradient_where_a_result_is_predicted():
    """Of the logits: positions 1 to 3 of the sample predict the result's tokens."""
    lm, batch = tiny_lm(), batch_of(tooled())
    hidden, targets = hidden_at_targets(lm.network, batch.packed)
    hidden.retain_grad()
    logprobs = torch.log_softmax(lm.network.head(hidden), -1).gather(1, targets[:, None])[:, 0]
    PolicyLoss(PolicyLossSettings())(logprobs, batch).backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(1)[3:].min() > 0
    start = batch.packed.starts[-1]
    assert not {start + 1, start + 2, start + 3} & set(batch.packed.predict_from.tolist())
    assert {start, start + 4, start + 5} <= set(batch.packed.predict_from.tolist())


def test_splitting_changes_nothing():
    whole, parts = (
        make_batches([tooled(), tooled()], PolicyLossSettings(), 8, limit) for limit in (1000, 10)
    )
    assert len(parts) > len(whole) == 1
    assert sum(float(b.weights.sum()) for b in parts) == pytest.approx(float(whole[0].weights.sum()))


def test_metrics_count_what_the_model_made():
    own = tooled()
    found = group_metrics([own], [])
    assert found["num_tokens"] == 7
    assert found["completions/max_length"] == 4
    assert own.num_tokens == 7
    assert wasted_tokens([], [own])["dead_groups"] == 7
    assert tool_metrics(own.rollouts) == {
        "tools/calls_mean": 1.0,
        "tools/used_ratio": 0.5,
        "tools/error_ratio": 0.5,
        "tools/tokens": 3.0,
        "time/tools": 0.5,
        "tools/calculator/calls": 1.0,
    }
    assert tool_metrics(group([1.0, 0.0]).rollouts) == {}
    assert not any(name.startswith("tools/") for name in group_metrics([group([1.0, 0.0])], []))


def test_later_turns_are_read_again():
    # the prompt once for both; the first sample's second turn behind prompt, turn and result
    assert decoded(tooled()) == [(3, [2, 3]), (8, [2])]
    assert decoded(group([1.0, 0.0], [4, 2])) == [(3, [4, 2])]


def test_a_row_says_what_was_trained_and_called(tmp_path):
    rows = rollout_rows(3, [tooled(), group([1.0, 0.0])], tiny_lm(), "none", seed=0)
    Stage(tmp_path, "zero").rollouts(3, rows, SCHEMA)
    first, second, plain, _ = pq.read_table(tmp_path / "rollouts/step-000003.parquet").to_pylist()
    assert (first["trained"], first["tokens"], first["turns"]) == (MASK, 4, 2)
    assert first["tool_calls"] == [
        {"name": "calculator", "text": "1+1", "result": "2", "failed": False},
        {"name": "", "text": "", "result": "error: not JSON", "failed": True},
    ]
    assert (second["turns"], second["tool_calls"]) == (1, [])
    assert (plain["trained"], plain["turns"], plain["tool_calls"]) == (None, 1, None)


def test_the_last_turn_is_what_is_judged_and_paid():
    lm = tiny_lm()
    reply = Reply("hm", "85")
    ids = [1, 2, lm.template.stop_ids[0], 90, 3, lm.template.stop_ids[0]]
    trained = [True, True, True, False, True, True]
    made = Episode(
        ids=ids,
        logprobs=[0.0] * 6,
        logprob_meaning="raw",
        finish_reason=FinishReason.STOP,
        weights_version=4,
        trained=trained,
        reply=reply,
        text="<think>hm</think>85",
        opened=False,
        calls=CALLS,
        turns=2,
    )
    seen = []

    class Judge:
        def score(self, rows):
            seen.extend(rows)
            return {name: Verdict(Outcome.RIGHT, 1.0) for name, _, _ in rows}

    own = group([1.0]).problem
    judged = judge_groups(Judge(), lm.template, [Asked(own, "sums", [1], "0/p")], [[made]])  # type: ignore[arg-type]
    ((rollout,),) = (g.rollouts for g in make_groups(judged, Reward(), lm.template))
    assert seen == [("0/p/0", own, reply)]
    assert (rollout.reply, rollout.gamed, rollout.reward) == (reply, False, 1.0)
    assert (rollout.sequence.trained, rollout.sequence.calls, rollout.sequence.num_made) == (
        trained,
        CALLS,
        5,
    )


@pytest.mark.parametrize("experts", [False, True])
def test_sampler_and_trainer_agree_behind_a_result(monkeypatch, experts):
    """And so they do with replayed routing, whose records are joined over the turns."""

    def read(answer: str) -> Spoken:
        return Spoken(answer, (ToolCall("calculator", "6*7", "expression"),) if len(answer) % 4 else ())

    monkeypatch.setattr(episode, "read_calls", read)
    lm = tiny_v3() if experts else tiny_lm()
    lm.template._end_ids = (*lm.template._end_ids, *range(128, 256))
    prompts = [lm.tokenizer.encode("what is " + "x" * n) for n in (1, 5)]
    params = SamplingParams(120, 0.8, n=4, seed=2, record_routing=experts)
    box = Toolbox((Calculator(),), 2)
    groups = []
    for row, several in enumerate(episode.play_all(Engine(lm, 5), lm, box, prompts, params, ["a", "b"])):
        plain = group([1.0, 0.0, 0.0, 1.0])
        sequences = [sequence_of(prompts[row], e, f"{row}/{i}") for i, e in enumerate(several)]
        pairs = zip(plain.rollouts, sequences, strict=True)
        groups.append(replace(plain, rollouts=[replace(r, sequence=s) for r, s in pairs]))
    assert sum(len(r.sequence.calls or ()) for g in groups for r in g.rollouts) > 4
    batches = make_batches(groups, PolicyLossSettings(), 120, 300)
    learner = Learner(lm, OptimSettings(), 2)
    logprobs = [learner.forward(b, PolicyLoss(PolicyLossSettings()), 0.8)[1] for b in batches]
    assert (batches[0].routing is not None) == experts
    stats = token_stats(logprobs, batches, PolicyLossSettings())
    assert stats.mismatch_max < 1e-3


def test_the_watch_asks_with_tools():
    lm, box = tiny_lm(), Toolbox((Calculator(),))
    called = write_calls([ToolCall("calculator", "6*7", "expression")], "tags")

    def say(conversation: str, _: int) -> str:
        return "5" if "tool\n42" in conversation else called

    class Judge:
        def score(self, rows):
            return {n: Verdict(Outcome.RIGHT if r.answer == "5" else Outcome.WRONG, 0.0) for n, _, r in rows}

    watch = HeldOut(HeldOutSettings(every=1, n=3), [parse_suite("sums")], 0, 300, None, box)
    found = watch.measure(lm, Scripted(lm, say), Judge(), 1)  # type: ignore[arg-type]
    assert found["held_out/solve_rate"] == 1.0
    assert found["held_out/mean_length"] == len(lm.tokenizer.encode(called)) + 1 + 2
