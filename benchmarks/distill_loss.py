"""A training step against a stored teacher's likeliest tokens, beside SFT's on the same rows: one process,
the same model, in turns. Then the memory that the loss alone takes, over sizes of the vocabulary.

Rows are worked solutions of our families. The teacher's columns are the model's own before the first step:
what they say doesn't change what the step costs. `float32` and `bfloat16` are the weights'.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import common
import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.distill.distribution import KeptLoss, distribution_loss
from shoestring.distill.divergence import DivergenceSettings
from shoestring.distill.live import LiveTeacher, keep
from shoestring.distill.teacher_rows import KeptRows
from shoestring.jobs.distill_store import with_teacher
from shoestring.jobs.sft import SFTSettings, Tally, take_rows
from shoestring.jobs.sft_rows import WorkedRows
from shoestring.lm import LanguageModel, load
from shoestring.ops.memory import give_back, peak_bytes, reset_peak
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.loss import HeadLoss, TokenLoss, head_loss, sft_loss
from shoestring.train.optim import OptimSettings

SFT = "SFT"
LOSSES = {
    "forward KL": DivergenceSettings(name="forward_kl"),
    "reverse KL": DivergenceSettings(name="reverse_kl"),
    "Jensen-Shannon": DivergenceSettings(name="jsd"),
    "forward KL, a quarter cross entropy": DivergenceSettings(name="forward_kl", cross_entropy=0.25),
    "forward KL at temperature 2": DivergenceSettings(name="forward_kl", temperature=2.0),
}
WIDTH, TOKENS = 16, 2048  # of the memory's measurement; narrow, for a head and its gradient are V x WIDTH


def make_steps(lm: LanguageModel, args: argparse.Namespace) -> list[list[MicroBatch]]:
    source = WorkedRows(args.suites, args.seed, None)
    settings = SFTSettings(model=args.model, suites=args.suites, steps=args.steps, rows_per_step=args.rows)
    teacher = LiveTeacher(lm.network, torch.arange(lm.config.vocab_size))
    steps = []
    for _ in range(args.steps):
        rows = take_rows(source, lm, settings, Tally())
        batches = with_teacher(rows, settings.micro_batch_tokens, None)
        steps.append([annotated(batch, teacher, args.keep) for batch in batches])
    return steps


def annotated(batch: MicroBatch, teacher: LiveTeacher, k: int) -> MicroBatch:
    kept = keep(teacher, batch, k, 1.0)
    columns = {"teacher_ids": kept.ids, "teacher_logprobs": kept.logprobs, "teacher_tail": kept.tail}
    return MicroBatch(batch.packed, batch.weights, **columns)


def in_turns(learner: Learner, steps: list[list[MicroBatch]], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step under each loss, over the same rows in each round."""
    losses: dict[str, TokenLoss | HeadLoss] = {SFT: sft_loss}
    losses |= {name: KeptLoss(settings) for name, settings in LOSSES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for loss in losses.values():  # warm
        learner.update(steps[0], loss)
    for number in range(rounds):
        for name, loss in losses.items():
            began = time.perf_counter()
            learner.update(steps[number % len(steps)], loss)
            seconds[name].append(time.perf_counter() - began)
    return seconds


def tabulate(title: str, seconds: dict[str, list[float]], tokens: float) -> dict[str, Any]:
    result = {
        name: {
            "seconds": common.spread(own),
            "over_sft": common.ratios(own, seconds[SFT]),
            "tokens_per_second": tokens / common.spread(own)["median"],
        }
        for name, own in seconds.items()
    }
    rows = [
        (
            name,
            f"{found['tokens_per_second']:.0f}",
            common.in_words(found["seconds"], 2),
            common.in_words(found["over_sft"], 3) if name != SFT else "",
        )
        for name, found in result.items()
    ]
    common.show(title, ("", "tokens/s", "seconds, median (min-max)", "times SFT's"), rows)
    return result


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """MB that a loss takes beyond what it returns, the weight's gradient among that."""
    found: dict[str, Any] = {}
    for vocab in args.vocabularies:
        hidden = torch.randn(TOKENS, WIDTH).bfloat16().requires_grad_()
        weight = torch.randn(vocab, WIDTH).bfloat16().requires_grad_()
        targets = torch.randint(vocab, (TOKENS,))
        ids = torch.stack([torch.randperm(vocab)[: args.keep] for _ in range(TOKENS)])
        kept = KeptRows(ids, torch.full(ids.shape, -5.0), torch.full((TOKENS,), -1.0))
        weights, head = torch.full((TOKENS,), 1 / TOKENS), lambda h, w=weight: F.linear(h, w).float()
        own = (hidden, weight, targets, weights, kept, DivergenceSettings(), head)
        sft = (hidden, weight, targets, lambda logprobs, w=weights: -(logprobs * w).sum())
        found[f"{vocab}"] = {
            "distribution_mb": taken(lambda own=own: distribution_loss(*own)[0], weight),
            "sft_mb": taken(lambda sft=sft: head_loss(*sft)[0], weight),
        }
    rows = [(f"{int(v):,}", f"{m['distribution_mb']:.0f}", f"{m['sft_mb']:.0f}") for v, m in found.items()]
    title = f"Memory of the loss and its gradient, {TOKENS} tokens, top {args.keep}, a head of width {WIDTH}"
    common.show(title, ("vocabulary", "distribution, MB", "SFT's head loss, MB"), rows)
    return found


def taken(loss_of: Callable[[], Tensor], weight: Tensor) -> float:
    give_back(torch.device("cpu"))
    reset_peak(torch.device("cpu"))
    before = peak_bytes(torch.device("cpu"))
    loss_of().backward()
    peak = peak_bytes(torch.device("cpu")) - before
    weight.grad = None
    return (peak - weight.numel() * weight.element_size()) / 1e6


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=8)
    parser.add_argument(
        "--suites", nargs="+", default=["sums", "letters", "sorting"], help="whose worked solutions"
    )
    parser.add_argument("--rows", type=int, default=32, help="a step")
    parser.add_argument("--steps", type=int, default=4, help="distinct ones; they come round again")
    parser.add_argument("--keep", type=int, default=64, help="of the teacher's tokens")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16"], choices=["bfloat16", "float32"])
    parser.add_argument("--vocabularies", type=int, nargs="*", default=[32_768, 131_072, 524_288])
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    described = common.machine()
    results: dict[str, Any] = {"memory": memory(args) if args.vocabularies else {}}
    for dtype in args.dtypes:
        lm = load(args.model, dtype=dtype)
        steps = make_steps(lm, args)
        tokens = sum(b.num_tokens for step in steps for b in step) / len(steps)
        targets = sum(b.num_targets for step in steps for b in step) / len(steps)
        learner = Learner(lm, OptimSettings(learning_rate=2e-5, warmup_steps=0), total_steps=10**6)
        seconds = in_turns(learner, steps, args.rounds)
        title = (
            f"{dtype}, {args.rows} rows a step, {tokens:.0f} tokens, {targets:.0f} trained; top {args.keep}"
        )
        results[dtype] = tabulate(title, seconds, tokens) | {"tokens": tokens, "targets": targets}
    common.report("distill_loss", args, described, results)


if __name__ == "__main__":
    common.start(main)
