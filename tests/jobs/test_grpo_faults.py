"""Ten planted faults, each named correctly within five steps by a run of the job itself; and healthy runs of
which nothing is said."""

import dataclasses
import json

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import FinishReason
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs import grpo, grpo_trainer, handles
from shoestring.lm import LanguageModel, load
from shoestring.rl import gather, rollout, update
from shoestring.rl.reward import Reward
from shoestring.text.template import Template
from tiny import CHATML, tiny_lm
from training_runs import grpo_settings, metrics, run, same, save_base, timeless, toy_suite, weights

STEPS = 5
ENDS = (*tiny_lm().template.stop_ids, *range(94, 188))
CHATTY = "sums:min_terms=4"  # answers so various that one is seldom right for another problem


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random model; bytes that no English text has end its turns too, so that it ends them soon."""
    folder = tmp_path_factory.mktemp("base")
    lm = tiny_lm()
    config = dataclasses.replace(lm.config, eos_token_id=ENDS)
    lm.network.config = config
    template = Template(lm.tokenizer, CHATML, ENDS)
    LanguageModel(lm.network, lm.tokenizer, template, config, lm.lineage, lm.name).save(folder)
    return folder


@pytest.fixture
def suite(tmp_path):
    return toy_suite(tmp_path)


def settings(base, suite, **changed):
    values = {
        "steps": STEPS,
        "prompts_per_step": 4,
        "samples_per_prompt": 6,
        "max_completion_tokens": 24,
        "preflight": {"prompts": 4},
        "optim": {"learning_rate": 1e-4, "warmup_steps": 1},
        "trips": {},
        "refill_rounds": 0,
    }
    return grpo_settings(base, suite, **(values | changed))


def findings(folder) -> list[str]:
    path = folder / "findings.jsonl"
    return [json.loads(line)["name"] for line in path.read_text().splitlines()] if path.exists() else []


def named(wanted, folder) -> str:
    """Run, and what the run ended with."""
    with pytest.raises(ShoestringError) as caught:
        run(wanted, folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_healthy_run_no_fault_is_named(base, suite, tmp_path, seed):
    run(settings(base, suite, seed=seed), tmp_path / "g")
    assert set(findings(tmp_path / "g")) <= {"preflight", "zero rewards", "time"}


def test_cap_too_short(base, suite, tmp_path):
    wanted = settings(base, suite, max_completion_tokens=1)
    with pytest.raises(BadInput, match=r"truncated at 1 tokens.*max_completion_tokens to"):
        run(wanted, tmp_path / "g")


def test_cap_that_is_too_short_all_the_same_is_told_once_while_it_runs(suite, tmp_path):
    rambling = save_base(tmp_path / "base", short_replies=False)
    loose = {"prompts": 4, "max_truncated": 1.0}
    run(settings(rambling, suite, reward="random", preflight=loose), tmp_path / "g")
    assert findings(tmp_path / "g").count("cap too short") == 1


def test_parser_broken(base, tmp_path, monkeypatch):
    monkeypatch.setattr(Template, "parse", lambda self, ids, cut: Template.parse_text(self, "", cut))
    assert "parser broken" in named(settings(base, "sums"), tmp_path / "g")


def test_template_that_strips_thinking(base, tmp_path, monkeypatch):
    parse = Template.parse
    stripped = lambda self, ids, cut: dataclasses.replace(parse(self, ids, cut), reasoning=None)  # noqa: E731
    monkeypatch.setattr(Template, "parse", stripped)
    assert "template strips thinking" in named(settings(base, "sums"), tmp_path / "g")


def whole(completion, ids):
    logprobs, stop = [-1.0] * len(ids), FinishReason.STOP
    return dataclasses.replace(completion, ids=ids, logprobs=logprobs, finish_reason=stop)


def test_shuffled_gold(base, tmp_path, monkeypatch):
    """Every problem is judged by the next one's answer; the replies are right but for one in four."""
    real = rollout.judge_groups

    def shifted(judge, template, asked, completions):
        pool = shifted.pool
        swapped = [
            dataclasses.replace(a, problem=dataclasses.replace(a.problem, hidden=pool[a.problem.id].hidden))
            for a in asked
        ]
        said = []
        for own, samples in zip(asked, completions, strict=True):
            right = f"The answer is {own.problem.hidden['answer']}."
            ids = [*template._tokenizer.encode(right), template.stop_ids[0]]
            said.append(
                [
                    dataclasses.replace(c, ids=ids, logprobs=[-1.0] * len(ids)) if i % 4 else c
                    for i, c in enumerate(samples)
                ]
            )
        return real(judge, template, swapped, said)

    take = grpo_trainer.Streams.take

    def taking(self, *args):
        asked = take(self, *args)
        shifted.pool = {a.problem.id: asked[(i + 1) % len(asked)].problem for i, a in enumerate(asked)}
        return asked

    monkeypatch.setattr(grpo_trainer.Streams, "take", taking)
    monkeypatch.setattr(gather, "judge_groups", shifted)
    wanted = settings(base, CHATTY, preflight={"prompts": 8}, loss={"correction": "token_tis"})
    assert "shuffled gold" in named(wanted, tmp_path / "g")


def test_constant_reward(base, suite, tmp_path, monkeypatch):
    monkeypatch.setattr(Reward, "pay", lambda self, *args: (1.0, {}))
    assert "constant reward" in named(settings(base, suite), tmp_path / "g")


@pytest.mark.parametrize("reward", ["random", "format", "shuffled"])
def test_a_control_may_pay_all_alike(base, suite, tmp_path, monkeypatch, reward):
    """Its preflight and its steps: that nothing can be learnt from it is no fault of its."""
    monkeypatch.setattr(Reward, "pay", lambda self, *args: (1.0, {}))
    run(settings(base, suite, reward=reward, steps=2), tmp_path / "g")
    assert set(findings(tmp_path / "g")) <= {"preflight", "zero rewards", "time", "no live group"}
    assert findings(tmp_path / "g").count("no live group") == 2


def test_wrong_group_ids(base, suite, tmp_path, monkeypatch):
    real = gather.make_groups

    def mixed(*args, **kwargs):
        groups = real(*args, **kwargs)
        for one, other in zip(groups[::2], groups[1::2], strict=False):
            one.rollouts[0], other.rollouts[0] = other.rollouts[0], one.rollouts[0]
        return groups

    monkeypatch.setattr(gather, "make_groups", mixed)
    assert "wrong group ids" in named(settings(base, suite), tmp_path / "g")


@pytest.mark.parametrize("lies", [False, True])  # about the version that it samples from
def test_stale_weights(base, suite, tmp_path, monkeypatch, lies):
    class Stale(Engine):
        """Samples from a copy of the first model for ever."""

        def __init__(self, lm, **kwargs):
            super().__init__(load(str(base), dtype="float32"), **kwargs)

        def load_weights(self, weights, version):
            self.weights_version = version if lies else 0

    monkeypatch.setattr(handles, "Engine", Stale)
    wanted = settings(base, suite, optim={"learning_rate": 1e-3, "warmup_steps": 0})
    line = named(wanted, tmp_path / "g")
    assert "stale weights" in line
    assert "before step 1" not in line


def test_temperature_on_one_side(base, suite, tmp_path, monkeypatch):
    real = gather.sampling_params
    cold = lambda own: dataclasses.replace(real(own), temperature=0.6)  # noqa: E731
    monkeypatch.setattr(gather, "sampling_params", cold)
    line = named(settings(base, suite), tmp_path / "g")
    assert "temperature on one side" in line
    assert "fit temperature 0.6, the trainer's is 1" in line


def test_pad_is_eos(base, suite, tmp_path, monkeypatch):
    real = update.make_batches

    def without_padding(*args):
        batches = real(*args)
        keep = [torch.tensor([int(t) not in ENDS for t in b.packed.targets]) for b in batches]
        return [dataclasses.replace(b, weights=b.weights * k) for b, k in zip(batches, keep, strict=True)]

    monkeypatch.setattr(update, "make_batches", without_padding)
    assert "pad = eos" in named(settings(base, suite), tmp_path / "g")


def test_exploding_learning_rate(base, suite, tmp_path):
    wanted = settings(base, suite, optim={"learning_rate": 3.0, "warmup_steps": 0})
    assert "before step 1: exploding learning rate: one update at 3 " in named(wanted, tmp_path / "g")


def test_an_explosion_while_it_runs_is_rolled_back_once(base, suite, tmp_path):
    wanted = settings(base, suite, preflight={"prompts": 0}, optim={"learning_rate": 3.0, "warmup_steps": 0})
    line = named(wanted, tmp_path / "g")
    assert "exploding learning rate: one update at 1.5 " in line
    assert "rolled back once already" in line
    assert findings(tmp_path / "g") == ["rolled back"]


def exploding_once(monkeypatch, folder) -> None:
    """The policy seems to jump in step 3, as long as nothing was rolled back in the folder."""
    real = grpo.apart

    def jump(learner, probe, temperature):
        first = learner.step == 3 and "rolled back" not in findings(folder)
        return 5.0 if first else real(learner, probe, temperature)

    monkeypatch.setattr(grpo, "apart", jump)


def test_after_a_roll_back_the_run_goes_on_at_half_the_rate(base, suite, tmp_path, monkeypatch):
    exploding_once(monkeypatch, tmp_path / "g")
    run(settings(base, suite, optim={"learning_rate": 1e-4, "warmup_steps": 0}), tmp_path / "g")
    rows = metrics(tmp_path / "g")
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5]
    assert [r["learning_rate"] for r in rows] == [1e-4, 1e-4, 5e-5, 5e-5, 5e-5]
    assert "rolled back" in findings(tmp_path / "g")


def stop_after(step: int, patched) -> None:
    real = grpo.stop_if_asked

    def stopping(stage, learner, *rest):
        stage._stop.requested = stage._stop.requested or learner.step == step
        real(stage, learner, *rest)

    patched.setattr(grpo, "stop_if_asked", stopping)


def test_a_run_that_was_rolled_back_resumes_with_the_same_bits(base, suite, tmp_path, monkeypatch):
    wanted = settings(base, suite)
    for name, stop in (("whole", None), ("parted", 4)):
        exploding_once(monkeypatch, tmp_path / name)
        if stop is None:
            run(wanted, tmp_path / name)
            continue
        with monkeypatch.context() as patched:
            stop_after(stop, patched)
            with pytest.raises(Interrupted):
                run(wanted, tmp_path / name)
        run(wanted, tmp_path / name, resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parted"))
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "parted")
