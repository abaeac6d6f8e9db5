"""Training tokens per second of SFT: our step beside TRL's SFTTrainer, on the same rows.

Rows are worked solutions of our families, loss on the assistant's tokens only, AdamW alike on both sides.
TRL takes part with the fastest of its variants here: padded in small or whole batches, or packed; with bf16
weights or with autocast over float32 ones (as ours are: float32 masters).
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import common
from contenders import OURS, Contender, Rounds, best_of, interleave, running

from shoestring.errors import ShoestringError
from shoestring.jobs.sft import SFTSettings, Tally, take_rows
from shoestring.jobs.sft_rows import WorkedRows
from shoestring.lm import LanguageModel, load
from shoestring.tasks import FAMILIES

OUR, TRL = "shoestring", "TRL"
LEARNING_RATE = 2e-5
LOSS_TOLERANCE = 2e-3  # of float32 losses, the second and third after an update on each side
STEPS = 8  # distinct ones; they come round again

Row = tuple[list[int], list[bool]]


def make_steps(lm: LanguageModel, args: argparse.Namespace) -> list[list[Row]]:
    """Each step's rows in order of length, which spares TRL padding; ours orders them itself."""
    source = WorkedRows(args.suites, args.seed, None)
    settings = SFTSettings(
        model=args.model, suites=args.suites, steps=STEPS, rows_per_step=args.rows, seed=args.seed
    )
    steps = []
    for _ in range(STEPS):
        rows = sorted(take_rows(source, lm, settings, Tally()), key=lambda row: len(row.ids))
        steps.append([(row.ids, row.trained) for row in rows])
    return steps


def ours(folder: str, dtype: str, steps: list[list[Row]], warmup: int) -> Contender:
    spec = {
        "folder": folder,
        "dtype": dtype,
        "steps": steps,
        "warmup_steps": warmup,
        "learning_rate": LEARNING_RATE,
        "micro_batch_tokens": SFTSettings.model_fields["micro_batch_tokens"].default,
    }
    return Contender(OUR, OURS, "ours_sft.py", spec, kit="")


def trl(
    args: argparse.Namespace,
    folder: str,
    precision: str,
    batch: int,
    steps: list[list[Row]],
    warmup: int,
    packed: int = 0,
) -> Contender:
    """packed: the length of a packed row, 0 for padded batches of `batch` rows."""
    rows = len(steps[0])
    tokens = sum(len(ids) for step in steps for ids, _ in step) / len(steps)
    spec = {
        "folder": folder,
        "precision": precision,
        "steps": steps,
        "warmup_steps": warmup,
        "learning_rate": LEARNING_RATE,
        "packing": bool(packed),
        "max_length": packed or max(len(ids) for step in steps for ids, _ in step),
        "batch": 1 if packed else batch,
        # packed rows hold several: as many of them a step as there are tokens in ours
        "accumulate": max(1, round(tokens / packed)) if packed else rows // batch,
    }
    form = f"packed {packed}" if packed else f"padded {batch}"
    name = f"{TRL} {form} {precision}"
    return Contender(name, common.python_of(args.peers), "trl_sft.py", spec, kit="trl")


def variants(args: argparse.Namespace, folder: str, steps: list[list[Row]]) -> list[Contender]:
    found = []
    for precision in args.precisions:
        for batch in sorted({min(b, args.rows) for b in args.batches if args.rows % min(b, args.rows) == 0}):
            found.append(trl(args, folder, precision, batch, steps, args.warmup_steps))
        for length in args.packed:
            found.append(trl(args, folder, precision, 1, steps, args.warmup_steps, packed=length))
    return found


def check_loss(args: argparse.Namespace, folder: str, steps: list[list[Row]]) -> dict[str, Any]:
    """Three float32 steps on the same 8 rows each: the loss, and after an update the loss again. Raises
    ShoestringError where they differ."""
    few = [step[:8] for step in steps]
    with running(
        [ours(folder, "float32", few, 0), trl(args, folder, "float32", len(few[0]), few, 0)]
    ) as both:
        rounds = interleave(both, 3, lambda *_: {})
        losses = {one.name: common.series(rounds, one.name, "loss") for one in both}
    mine, theirs = losses.values()
    worst = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    for name, values in losses.items():
        print(f"float32 losses of three steps, {name}: {', '.join(f'{v:.5f}' for v in values)}")
    if worst > LOSS_TOLERANCE:
        raise ShoestringError(f"losses differ by {worst:.4f}, more than {LOSS_TOLERANCE}: not the same work")
    return {"losses": losses, "largest_difference": worst}


def tabulate(rounds: Rounds, peer: str, rows: int) -> dict[str, Any]:
    """Speed in rows' own tokens. Useful FLOPs are what the mathematics needs for those rows: a prefix that
    all rows share counts once, logits only where there is loss. TRL's are ours for as many tokens."""
    speeds = {name: common.series(rounds, name, "tokens", "seconds") for name in (OUR, peer)}
    each = sum(common.series(rounds, OUR, "flops")) / sum(common.series(rounds, OUR, "tokens"))
    peak = common.spread(common.series(rounds, common.PEAK, "bf16_gflops"))
    flops = {
        OUR: [f / 1e9 for f in common.series(rounds, OUR, "flops", "seconds")],
        peer: [speed * each / 1e9 for speed in speeds[peer]],
    }
    shares = {name: common.spread([f / peak["median"] for f in flops[name]]) for name in speeds}
    result = {
        "tokens_per_second": {name: common.spread(values) for name, values in speeds.items()},
        "ours_over": {peer: common.ratios(speeds[OUR], speeds[peer])},
        "useful_gflops": {name: common.spread(values) for name, values in flops.items()},
        "share_of_peak": shares,
        "peak_gflops": peak,
    }
    table = [
        (
            name,
            common.in_words(result["tokens_per_second"][name]),
            common.in_words(result["useful_gflops"][name]),
            f"{shares[name]['median']:.0%}",
            common.in_words(result["ours_over"][name], 2) if name != OUR else "",
        )
        for name in speeds
    ]
    columns = ("", "tokens/s, median (min-max)", "useful GFLOP/s", "of the peak", "ours over it")
    title = f"SFT, {rows} rows a step; bf16 matmul peak {common.in_words(peak)} GFLOP/s"
    common.show(title, columns, table)
    return result


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=8)
    parser.add_argument("--suites", nargs="+", default=[*FAMILIES], help="whose worked solutions")
    parser.add_argument("--rows", type=int, default=32, help="a step")
    parser.add_argument("--warmup-steps", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 32], help="TRL's padded batches")
    parser.add_argument("--packed", type=int, nargs="*", default=[1024], help="TRL's packed rows' lengths")
    parser.add_argument(
        "--precisions", nargs="+", default=["autocast", "weights"], choices=["autocast", "weights"]
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    described = common.machine()
    lm = load(args.model, dtype="float32")
    steps = make_steps(lm, args)
    with tempfile.TemporaryDirectory() as name:
        lm.save(Path(name))
        checks = check_loss(args, name, steps)
        best, tried = best_of(variants(args, name, steps), lambda a: a["tokens"] / a["seconds"])
        chosen = [ours(name, "bfloat16", steps, args.warmup_steps), best, common.matmul_peak(args.peak_size)]
        with running(chosen) as contenders:
            rounds = interleave(contenders, args.rounds, lambda *_: {})
            result = tabulate(rounds, best.name, args.rows)
            whole = {
                "checks": checks,
                "trl_variants_tokens_per_second": tried,
                "contenders": common.facts(contenders),
                "result": result,
                "rounds": rounds,
            }
    common.report("sft", args, described, whole)


if __name__ == "__main__":
    common.start(main)
