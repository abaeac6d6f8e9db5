"""What quantised weights cost on problems: a model in bf16 and quantised, on the same held-out problems.

python benchmarks/quantized_tasks.py --model MODEL [--suite SUITE ...] [-n N] [--json FILE]

Greedy. Intervals of a share are Wilson's; of a difference Newcombe's, problem by problem against bf16. How
long it takes says nothing here, so other work may run beside it."""

import argparse
from pathlib import Path
from typing import Any

from common import machine, report, show, start

from shoestring.evals.evaluate import evaluate
from shoestring.evals.result import EvalResult
from shoestring.evals.statistics import paired_difference
from shoestring.lm import Quantize, load
from shoestring.tasks.base import Outcome

FORMS: dict[str, Quantize | None] = {"bf16": None, "int8": "int8", "int4": "int4", "file": "file"}
SUITES = ["sums:max_terms=4", "equations:max_constant=30", "sums:max_terms=6,min_terms=5", "compare"]


def row(found: EvalResult, plain: EvalResult) -> dict[str, Any]:
    share = {"right": found.score, "low": found.ci95.low, "high": found.ci95.high}
    measured = share | {"cut": found.truncated, "n": found.n}
    if found is plain:
        return measured
    mine, theirs = ([item.outcome == Outcome.RIGHT for item in side.items] for side in (found, plain))
    less = paired_difference(mine, theirs)
    return measured | {"less_bf16": less.difference, "less_low": less.ci95.low, "less_high": less.ci95.high}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="any model that shoestring loads")
    parser.add_argument("--suite", nargs="+", default=SUITES)
    parser.add_argument("-n", type=int, default=256, help="problems of each suite")
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--forms", nargs="+", default=["int8", "int4"], choices=[*FORMS][1:])
    parser.add_argument("--json", type=Path, help="write what was measured")
    args = parser.parse_args()
    described = machine()
    found = {form: {} for form in ("bf16", *args.forms)}
    kept: dict[str, str] = {}
    for form, by_suite in found.items():
        lm = load(args.model, dtype="bfloat16", quantize=FORMS[form])
        kept[form] = lm.quantized
        for suite in args.suite:
            by_suite[suite] = evaluate(lm, suite, n=args.n, max_tokens=args.max_tokens)
            print(f"{form}, {suite}: {by_suite[suite].score:.1%}", flush=True)
    results = {
        suite: {form: row(found[form][suite], found["bf16"][suite]) for form in found} for suite in args.suite
    }
    rows = [
        (
            suite,
            form,
            f"{r['right']:.1%} ({r['low']:.1%}-{r['high']:.1%})",
            f"{r['cut']}",
            ""
            if form == "bf16"
            else f"{r['less_bf16']:+.1%} ({r['less_low']:+.1%} to {r['less_high']:+.1%})",
        )
        for suite, forms in results.items()
        for form, r in forms.items()
    ]
    show(f"{args.model}, n = {args.n}", ("", "weights", "right", "cut", "less bf16"), rows)
    report("quantized_tasks", args, described, {"kept": kept, "suites": results}, timed=False)


if __name__ == "__main__":
    start(main)
