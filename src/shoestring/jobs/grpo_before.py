"""What is looked at before a run's first step, each thing in seconds, so that a run that can't learn says so
at once and not after hours."""

import dataclasses
import json
import time

import torch

from shoestring.budget.flops import decode_flops
from shoestring.errors import BadInput, ShoestringError
from shoestring.rl.agreement import apart, fitted_temperature, probe_of
from shoestring.rl.batch import make_batches
from shoestring.rl.canary import canaries
from shoestring.rl.explain import explain
from shoestring.rl.faults import Fault, disagreeing
from shoestring.rl.gather import Sampler, roll_out, sampling_params
from shoestring.rl.group_faults import group_faults
from shoestring.rl.loss_settings import PolicyLossSettings
from shoestring.rl.preflight import Preflight, follow, measure
from shoestring.rl.readers import read_back, reader_faults
from shoestring.rl.rollout import Group
from shoestring.rl.streams import Streams
from shoestring.rl.tool_metrics import decoded
from shoestring.run import Stage, write_atomic
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner

OTHER_SEED = 7919  # the preflight's problems aren't the first steps'
CANARIES = 4  # samples


def before_training(sampler: Sampler, learner: Learner, stage: Stage) -> None:
    """Right answers read back; a preflight; two throw-away updates. Raises BadInput where the run is refused
    and ShoestringError that names a fault."""
    settings = sampler.settings
    if not settings.preflight.prompts:
        return
    checkable = [suite for suite in sampler.streams.suites if not suite.is_open]
    raise_first(
        stage, 0, reader_faults(read_back(checkable, sampler.lm.template, settings.seed), sampler.judge)
    )
    groups, seen = fly(sampler, stage)
    write_atomic(stage.folder / "preflight.json", json.dumps(dataclasses.asdict(seen), indent=2) + "\n")
    for line in seen.lines():
        stage.finding(0, "preflight", line)
    if seen.pass_at_1 < 1:
        for line in explain(groups, sampler.judge).lines():
            stage.finding(0, "zero rewards", line)
    if refusal := seen.refusal(settings.preflight):
        raise BadInput(refusal)
    found: list[Fault | None] = [*group_faults(groups, sampler.judge, 0, settings.reward != "task")]
    if batch := canary_batch(groups, sampler):
        temperature = settings.temperature
        if settings.loss.correction == "none":  # else it is known, and weighed
            gap = apart(learner, probe_of([batch]), temperature)
            found.append(disagreement(learner, [batch], temperature, gap, first=True))
        found += canaries(learner, batch, temperature)
    raise_first(stage, 0, [fault for fault in found if fault is not None])


def fly(sampler: Sampler, stage: Stage) -> tuple[list[Group], Preflight]:
    """The preflight's problems, sampled and judged as training will, and what that shows."""
    settings, began = sampler.settings, time.perf_counter()
    streams = Streams(settings.suites, settings.seed + OTHER_SEED)
    asked = streams.take(settings.preflight.prompts, sampler.lm, settings.system, 1, sampler.tools)
    groups = roll_out(sampler, asked, 1).groups
    window = sampler.lm.config.max_position_embeddings
    lengths = follow(sampler.generator, groups, sampling_params(settings), window)
    seen = measure(groups, settings.max_completion_tokens, lengths, time.perf_counter() - began)
    config = sampler.lm.config
    flops = sum(decode_flops(config, context, made) for g in groups for context, made in decoded(g))
    stage.use("preflight", seen.seconds, seen.tokens, flops)
    return groups, seen


def canary_batch(groups: list[Group], sampler: Sampler) -> MicroBatch | None:
    """A few samples of the first group, each with advantage 1; None where none counts."""
    settings = sampler.settings
    rollouts = [r for g in groups[:1] for r in g.rollouts if r.reward is not None][:CANARIES]
    if not rollouts:
        return None
    group = Group(groups[0].problem, groups[0].suite, rollouts)
    batch = make_batches([group], PolicyLossSettings(), settings.max_completion_tokens, 1 << 30)[0]
    return dataclasses.replace(batch, advantages=torch.ones_like(batch.weights))


def disagreement(
    learner: Learner, batches: list[MicroBatch], temperature: float, gap: float, first: bool
) -> Fault | None:
    """gap: nats a token between sampler and trainer under what should be the same weights."""
    if disagreeing(gap, first, temperature, temperature) is None:
        return None
    fitted = fitted_temperature(learner, probe_of(batches), temperature)
    return disagreeing(gap, first, temperature, fitted)


def raise_first(stage: Stage, step: int, faults: list[Fault]) -> None:
    """Every fault is a finding; the first ends the run."""
    for fault in faults:
        stage.finding(step, fault.name, str(fault))
    if faults:
        raise ShoestringError(f"step {step}: {faults[0]}" if step else f"before step 1: {faults[0]}")
