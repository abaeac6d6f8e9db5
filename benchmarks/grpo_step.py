"""Seconds of one whole GRPO step (sample, judge, advantages, update): our job beside TRL's GRPOTrainer.

Same prompts in the same order, same scorer, natural ends under one cap, same loss (token mean, no std, clip
0.2/0.28, no KL). The learning rate is so low that the model stays what it was: every step is the same work.
Dead groups (all rewards equal) are not replaced. TRL trains on them all the same, ours leaves them out, so
both seconds a step and seconds a live group are shown.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import common
from contenders import HERE, OURS, Contender, Rounds, best_of, interleave, running

from shoestring.errors import BadInput
from shoestring.lm import load

OUR, TRL = "shoestring", "TRL"
LEARNING_RATE = 1e-7
STEPS = 16  # distinct ones for TRL's dataset; they come round again


def contenders(args: argparse.Namespace, folder: str) -> tuple[Contender, list[Contender]]:
    spec = {
        "folder": folder,
        "suite": args.suite,
        "prompts": args.prompts,
        "samples": args.samples,
        "max_tokens": args.max_tokens,
        "learning_rate": LEARNING_RATE,
        "seed": args.seed,
        "warmup_steps": args.warmup_steps,
    }
    variants = []
    for variant in args.variants:
        precision, _, batch = variant.partition(":")
        if precision not in ("weights", "autocast") or not batch.isdigit() or int(batch) < 1:
            raise BadInput(f"--variants {variant!r}: write weights:BATCH or autocast:BATCH")
        if args.prompts * args.samples % int(batch):
            raise BadInput(
                f"--variants {variant!r}: {args.prompts * args.samples} samples don't divide by it"
            )
        theirs = spec | {"steps": STEPS, "precision": precision, "batch": int(batch)}
        env = {"PYTHONPATH": str(HERE.parent / "src")}  # the scorer, which needs no torch
        python = common.python_of(args.peers)
        variants.append(Contender(f"{TRL} {variant}", python, "trl_grpo.py", theirs, kit="trl", env=env))
    return Contender(OUR, OURS, "ours_grpo.py", spec, kit=""), variants


def tabulate(rounds: Rounds, peer: str, args: argparse.Namespace) -> dict[str, Any]:
    names = (OUR, peer)
    seconds = {name: common.series(rounds, name, "seconds") for name in names}
    live = {name: sum(common.series(rounds, name, "live")) for name in names}
    groups = {name: sum(common.series(rounds, name, "groups")) for name in names}
    lengths = {name: common.spread(common.series(rounds, name, "mean_length")) for name in names}
    rewards = {name: common.spread(common.series(rounds, name, "reward")) for name in names}
    a_group = {name: sum(seconds[name]) / live[name] if live[name] else None for name in names}
    result = {
        "seconds_per_step": {name: common.spread(seconds[name]) for name in names},
        "seconds_per_live_group": a_group,
        "live_groups": live,
        "dead_groups": {name: groups[name] - live[name] for name in names},
        "mean_length": lengths,
        "reward": rewards,
        "times_faster": {peer: common.ratios(seconds[peer], seconds[OUR])},
        "peak_gflops": common.spread(common.series(rounds, common.PEAK, "bf16_gflops")),
    }
    rows = [
        (
            name,
            common.in_words(result["seconds_per_step"][name], 1),
            "-" if a_group[name] is None else f"{a_group[name]:.2f}",
            f"{live[name]:.0f} of {groups[name]:.0f}",
            f"{lengths[name]['median']:.1f}",
            f"{rewards[name]['median']:.2f}",
            common.in_words(result["times_faster"][peer], 2) if name == peer else "",
        )
        for name in names
    ]
    columns = (
        *("", "s a step, median (min-max)", "s a live group", "live groups", "tokens a reply", "reward"),
        "ours times faster",
    )
    common.show(f"GRPO, {args.prompts} x {args.samples}, at most {args.max_tokens} tokens", columns, rows)
    return result


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=4)
    parser.add_argument("--suite", default="sums:max_terms=3,max_digits=1", help="where groups are mixed")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--warmup-steps", type=int, default=1)
    parser.add_argument(
        "--variants",
        nargs="+",
        default=["weights:16", "weights:64", "autocast:16"],
        help="of TRL, PRECISION:BATCH; the fastest of them takes part",
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.warmup_steps < 1:
        raise BadInput("--warmup-steps must be at least 1: the first step has loading in it")
    described = common.machine()
    with tempfile.TemporaryDirectory() as name:
        load(args.model, dtype="float32").save(Path(name))
        ours, variants = contenders(args, name)
        best, tried = best_of(variants, lambda answer: 1 / answer["seconds"])
        with running([ours, best, common.matmul_peak(args.peak_size)]) as both:
            rounds = interleave(both, args.rounds, lambda *_: {})
            whole = {
                "trl_variants_steps_per_second": tried,
                "contenders": common.facts(both),
                "result": tabulate(rounds, best.name, args),
                "rounds": rounds,
            }
    common.report("grpo_step", args, described, whole)


if __name__ == "__main__":
    common.start(main)
