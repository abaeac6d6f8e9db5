"""A unit of a recipe as phases of work, by its job. The words for kinds of work are those of usage.jsonl."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from shoestring.budget.flops import forward_flops
from shoestring.budget.memory import Memory, weight_bytes
from shoestring.budget.plan import Phase
from shoestring.budget.ranges import Range
from shoestring.evals.audit import probes_of
from shoestring.evals.chat_prompts import CHAT_PROMPTS
from shoestring.evals.identity_check import probes as identity_probes
from shoestring.jobs.audit import AuditSettings
from shoestring.jobs.distill_settings import DistillOutputsSettings
from shoestring.jobs.evaluate import plan as plan_units
from shoestring.jobs.evaluate_settings import EvaluateSettings
from shoestring.jobs.plan_lengths import Lengths, asked_of, lengths_of
from shoestring.jobs.plan_models import Known
from shoestring.jobs.plan_work import Reckoner, unmetered
from shoestring.jobs.pretrain_settings import PretrainSettings
from shoestring.jobs.reward import RewardModelSettings
from shoestring.jobs.sample import SampleSettings
from shoestring.jobs.sft import SFTSettings
from shoestring.jobs.tokenizer import TokenizerSettings

NOTHING = Range.exact(0.0)
VALIDATED = Range(100, 160, 200)  # tokens of a document that is validated on
SYSTEM_TOKENS = 22  # of the template's own system turn, which all rows of a micro-batch share
CHAT_REPLY = Range(0.2, 0.5, 0.95)  # of the cap that a reply to an ordinary prompt takes
PAIR_TOKENS = Range(25, 36, 60)  # of a prompt with a reply, of the pairs that come with the package
TOKENIZER_S = Range(0.00003, 0.00012, 0.0006)  # a document


def sft_phases(
    r: Reckoner, s: SFTSettings, model: Known, rows: Lengths, teacher: Known | None = None
) -> Iterator[Phase]:
    """teacher: one in memory, whose forward pass over each micro-batch is on the bill of training."""
    tokens = Range.around(s.steps * s.rows_per_step * rows.row, 0.2, 0.25)
    share = (rows.worked or rows.row / 2) / rows.row
    mtp = bool(s.objectives.mtp_weight and model.config.num_nextn_predict_layers)
    passes = 1.0 if teacher is None else 1 + teacher.parameters / model.parameters / 3
    one = r.train(
        model, s.steps, tokens, rows.row, share, s.micro_batch_tokens, mtp, s.lora, passes, _computed(rows)
    )
    if teacher is not None and one.memory is not None:
        weights = weight_bytes(teacher.config, r.machine.width)
        one = replace(one, memory=Memory({**one.memory.parts, "teacher": weights}))
    yield one
    yield r.other(model.parameters, saved=s.steps // s.save_every)


def _computed(rows: Lengths) -> float:
    """Share of the tokens that a micro-batch computes: its rows have one beginning."""
    return 1 - min(SYSTEM_TOKENS, rows.prompt / 2) / rows.row


def pretrain_phases(r: Reckoner, s: PretrainSettings, model: Known) -> Iterator[Phase]:
    ramp = s.ramp_steps * (s.rows_per_step - s.ramp_rows_from) / 2 if s.ramp_rows_from else 0
    tokens = (s.steps * s.rows_per_step - ramp) * s.sequence_length
    batch = max(1, s.micro_batch_tokens // s.sequence_length) * s.sequence_length
    mtp = bool(s.objectives.mtp_weight and model.config.num_nextn_predict_layers)
    length = s.sequence_length
    yield r.train(model, s.steps, Range.exact(tokens), length, (length - 1) / length, batch, mtp)
    times = -(-s.steps // s.validation_every)
    read = VALIDATED * (times * s.validation_documents)
    config = model.config

    def flops_of(count: float) -> float:
        return forward_flops(config, int(count), int(count * VALIDATED.mid / 2), int(count))

    flops = read.map(flops_of)
    seconds = read.map(lambda n: r.machine.train_seconds(config, flops_of(n), n / 3, 4096) + 0.5 * times)
    yield r.phase("validate", seconds * r.machine.spread(1.0), read, flops)
    if s.samples:
        reply = Range.around(s.sample_tokens, 0.3, 0.0)
        yield unmetered(
            r.generate("validate", model, times, s.samples, 1, 16, reply, s.sample_tokens, s.samples)
        )
    yield r.other(model.parameters, saved=s.steps // s.save_every)


def sample_phases(r: Reckoner, s: SampleSettings | DistillOutputsSettings, model: Known) -> Iterator[Phase]:
    """Rejection sampling, and distillation from a local teacher's outputs."""
    lengths = lengths_of(s.suites, s.system)
    reply = lengths.reply(model.taught, s.max_completion_tokens)
    own = s.prompts_per_chunk if isinstance(s, SampleSettings) else s.prompts  # one endless queue
    chunk = min(own, s.prompts)
    rounds = s.prompts / chunk
    yield r.generate(
        "generate", model, rounds, chunk, s.samples_per_prompt, lengths.prompt, reply,
        s.max_completion_tokens, s.max_batch,
    )  # fmt: skip
    yield r.phase("judge", r.machine.spread(0.05 * rounds), NOTHING, NOTHING)
    yield r.other(model.parameters)


def eval_phases(r: Reckoner, s: EvaluateSettings, models: Sequence[tuple[str, Known]]) -> Iterator[Phase]:
    """Ways of asking that differ in the reading alone are asked once."""
    units = plan_units(s)
    for label, model in models:
        own = [unit for unit in units if unit.label == label]
        asked = {(unit.suite, replace(unit.asking, lenient=False)): unit for unit in own}
        for (suite, asking), unit in asked.items():
            lengths = lengths_of([suite], asking.system)
            shown = asking.few_shot * (
                lengths.row if asking.few_shot_style == "reasoning" else lengths.prompt
            )
            prompt = lengths.prompt + shown
            reply = lengths.reply(model.taught or asking.few_shot > 0, asking.max_tokens)
            one = r.generate("eval", model, 1, unit.n, unit.k, prompt, reply, asking.max_tokens, 256, shown)
            yield replace(one, tokens=one.tokens + Range.exact(unit.n * prompt))
        if s.chat_check:
            turns = [prompt.turns for prompt in CHAT_PROMPTS]
            yield _conversations(r, "chat", model, turns, s.chat_max_tokens)
        if s.identity_check:
            turns = [(probe,) for several in identity_probes().values() for probe in several]
            yield _conversations(r, "identity", model, turns, s.identity_max_tokens)
        yield r.other(model.parameters / 2)


def _conversations(
    r: Reckoner, kind: str, model: Known, conversations: Sequence[Sequence[str]], cap: int
) -> Phase:
    """Ordinary questions, turn by turn. As on a bill, what is read counts with what is made."""
    asked, reply = asked_of(conversations), CHAT_REPLY * cap
    read = asked.read(reply)
    one = r.generate(kind, model, 1, asked.prompts, 1, read.mid / asked.prompts, reply, cap, 256)
    return replace(one, tokens=one.tokens + read)


def audit_phases(r: Reckoner, s: AuditSettings, models: Sequence[Known]) -> Iterator[Phase]:
    """Each model is asked all probes, turn by turn."""
    turns = [probe.turns or (probe.raw,) for probe in probes_of(s.only, s.n)]
    for model in models:
        yield _conversations(r, "audit", model, turns, s.max_tokens)
        yield r.other(model.parameters / 2)


def reward_phases(r: Reckoner, s: RewardModelSettings, model: Known) -> Iterator[Phase]:
    tokens = PAIR_TOKENS * (2 * s.rows_per_step * s.steps)
    yield r.train(model, s.steps, tokens, PAIR_TOKENS.mid, 0.0, s.micro_batch_tokens)
    yield r.other(model.parameters, saved=s.steps // s.save_every)


def tokenizer_phases(r: Reckoner, s: TokenizerSettings) -> Iterator[Phase]:
    seconds = TOKENIZER_S * s.documents + Range.exact(0.2)
    yield r.phase("tokenizer", seconds * r.machine.spread(1.0), NOTHING, NOTHING)


def teach_phase(r: Reckoner, teacher: Known, rows: Lengths, different: Range, at_once: int) -> Phase:
    """A teacher's logprobs of rows, once each: a forward pass with logits at all targets."""
    tokens = different * Range.around(rows.row * _computed(rows), 0.2, 0.3)
    share = (rows.worked or rows.row / 2) / rows.row / _computed(rows)
    return r.score("teach", teacher, tokens, rows.row, share, at_once)
