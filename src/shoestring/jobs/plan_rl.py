"""Reinforcement learning and on-policy distillation as phases of work: sampling, judging, updates, and the
models that lie in memory beside the one that learns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from shoestring.budget.flops import train_flops
from shoestring.budget.memory import Memory, training_memory, weight_bytes
from shoestring.budget.plan import NOTHING, Phase
from shoestring.budget.ranges import Range
from shoestring.jobs.on_policy_settings import OnPolicySettings
from shoestring.jobs.plan_lengths import Lengths, lengths_of
from shoestring.jobs.plan_models import Known
from shoestring.jobs.plan_work import Reckoner, adapter_of, unmetered
from shoestring.rl.preference import SCORED_TOKENS
from shoestring.rl.settings import GRPOSettings
from shoestring.tasks.suite import parse_suite

# Of a step's groups those that differ in their rewards are trained on; measured 0.35 to 0.9.
LIVE, LIVE_REFILLED = Range(0.35, 0.5, 0.9), Range(0.6, 0.8, 1.0)
REFILLED = Range(1.0, 1.7, 2.0)  # times the prompts that a step asks for where dead groups are replaced once


@dataclass(frozen=True)
class Beside:
    """Models that a stage holds beside the one that learns, by what they are there for. passes: what their
    forward passes take of an update."""

    models: Mapping[str, Known] = field(default_factory=dict)
    passes: float = 0.0


def grpo_phases(
    r: Reckoner, s: GRPOSettings | OnPolicySettings, model: Known, beside: Beside = Beside()
) -> Iterator[Phase]:
    lengths = _drawn_lengths(s)
    reply = lengths.reply(model.taught, s.max_completion_tokens)
    refilled = isinstance(s, GRPOSettings) and s.refill_rounds > 0
    asked = REFILLED if refilled else Range.exact(1.0)
    one = r.generate(
        "generate", model, s.steps, s.prompts_per_step, s.samples_per_prompt, lengths.prompt, reply,
        s.max_completion_tokens, s.max_batch,
    )  # fmt: skip
    yield r.phase("generate", one.seconds * asked, one.tokens * asked, one.flops * asked, None)
    yield _update(r, s, model, beside, lengths, reply, one.memory)
    judging = r.machine.spread(1.5 + 0.1 * s.steps)
    if isinstance(s, GRPOSettings) and s.preference is not None:
        judging = judging + _preference_seconds(r, s, beside.models["reward model"], lengths, reply * asked)
    yield r.phase("judge", judging, NOTHING, NOTHING)  # a reward model's operations are not metered
    cap = s.max_completion_tokens
    if s.preflight.prompts:
        yield r.generate(
            "preflight", model, 1, s.preflight.prompts, s.samples_per_prompt, lengths.prompt, reply, 3 * cap,
            s.max_batch,
        )  # fmt: skip
    if isinstance(s, GRPOSettings) and s.held_out.every:
        times, n = -(-s.steps // s.held_out.every), s.held_out.n
        yield unmetered(r.generate("other", model, times, n, 1, lengths.prompt, reply, cap, s.max_batch))
    at_once = s.micro_batch_tokens
    rehearsed = train_flops(model.config, at_once, at_once * cap // 2, at_once - int(lengths.prompt))
    more = r.machine.train_seconds(model.config, rehearsed, at_once, at_once) + 4.0
    yield r.other(model.parameters, more, saved=1 + s.steps // s.save_every)


def _drawn_lengths(s: GRPOSettings | OnPolicySettings) -> Lengths:
    """Means over the steps: suites that join late count from then on."""
    early = lengths_of(s.suites, s.system)
    if not isinstance(s, GRPOSettings) or not s.late_suites:
        return early
    late, share = lengths_of(_suites_at(s, s.late_from), s.system), (s.steps - s.late_from + 1) / s.steps
    worked = [(found.worked, part) for found, part in ((early, 1 - share), (late, share)) if found.worked]
    mean = sum(tokens * part for tokens, part in worked) / sum(part for _, part in worked) if worked else None
    return Lengths((1 - share) * early.prompt + share * late.prompt, mean)


def _suites_at(s: GRPOSettings, step: int) -> list[str]:
    return [*s.suites, *s.late_suites] if step >= s.late_from else s.suites


def _update(
    r: Reckoner,
    s: GRPOSettings | OnPolicySettings,
    model: Known,
    beside: Beside,
    lengths: Lengths,
    reply: Range,
    sampling: Memory | None,
) -> Phase:
    """All optimizer steps. sampling: what the engine holds, whose cache stays."""
    live = LIVE_REFILLED if isinstance(s, GRPOSettings) and s.refill_rounds else LIVE
    if isinstance(s, OnPolicySettings):  # every sample teaches
        live = Range.exact(1.0)
    prompts, samples = s.prompts_per_step, s.samples_per_prompt
    trained = (reply * samples + Range.exact(lengths.prompt)) * live * (s.steps * prompts)
    share = reply.mid * samples / (reply.mid * samples + lengths.prompt)
    reference = 1 / 3 if s.loss.kl_coefficient else 0.0
    old = 1 / 3 if s.minibatches > 1 else 0.0
    return r.train(
        model, s.steps * s.minibatches, trained, lengths.prompt + reply.mid, share, s.micro_batch_tokens,
        lora=s.lora, passes=1 + reference + old + beside.passes,
        memory=_memory(r, s, model, beside, lengths, sampling),
    )  # fmt: skip


def _memory(
    r: Reckoner,
    s: GRPOSettings | OnPolicySettings,
    model: Known,
    beside: Beside,
    lengths: Lengths,
    sampling: Memory | None,
) -> Memory:
    """The largest micro-batch with the cache and every model that is there. A reference is a second copy of
    the weights; that of an adapter is the model without it."""
    at_once, width = s.micro_batch_tokens, r.machine.width
    held = training_memory(
        model.config, at_once, at_once - int(lengths.prompt), width, False,
        None if s.lora is None else adapter_of(model.config, s.lora), r.machine.launch_s == 0,
    )  # fmt: skip
    cache = {} if sampling is None else {k: v for k, v in sampling.parts.items() if k != "weights"}
    others = {name: weight_bytes(known.config, width) for name, known in beside.models.items()}
    if s.loss.kl_coefficient and s.lora is None:
        others["reference"] = weight_bytes(model.config, width)
    return Memory({**held.parts, **cache, **others})


def _preference_seconds(
    r: Reckoner, s: GRPOSettings, reward_model: Known, lengths: Lengths, reply: Range
) -> Range:
    """What the reward model reads: replies of open prompts, or all, from its first step on."""
    assert s.preference is not None
    everything = s.preference.on == "all"
    shares = [
        1.0 if everything else fmean(parse_suite(suite).is_open for suite in _suites_at(s, step))
        for step in range(s.preference.from_step, s.steps + 1)
    ]
    rows = sum(shares) * s.prompts_per_step * s.samples_per_prompt
    if not rows:
        return NOTHING
    row = lengths.prompt + reply.mid
    tokens = (reply + Range.exact(lengths.prompt)) * rows
    return r.score("judge", reward_model, tokens, row, 0.0, SCORED_TOKENS).seconds
