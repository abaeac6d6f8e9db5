"""Tokens per second of rollouts: our engine beside HF `generate` and vLLM's CPU build, at equal weights.

Distinct prompts, one sample each; then fewer prompts with several samples each, whose prompt can be shared.
Every completion is exactly --max-tokens long (end-of-turn ignored). The prompt's reading is inside the time.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
from contenders import OURS, Contender, Rounds, Running, interleave, running

from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel, load
from shoestring.run.environment import usable_cores
from shoestring.tasks.draw import ProblemStream
from shoestring.tasks.suite import parse_suite

OUR, HF, VLLM = "shoestring", "HF generate", "vLLM CPU"
FP32_TIE = 1e-3  # two fp32 implementations may differ where the two best logits are this close
BF16_TIE = 0.05


@dataclass(frozen=True)
class Scenario:
    title: str
    prompts: list[list[int]]
    n: int
    temperature: float


def make_prompts(lm: LanguageModel, count: int, tokens: int, seed: int) -> list[list[int]]:
    """Distinct chats of `tokens` tokens or a few more: as many questions as it takes."""
    stream = ProblemStream([parse_suite("sums"), parse_suite("equations")], seed)
    prompts = []
    for _ in range(count):
        text, ids = "", []
        while len(ids) < tokens:
            text += stream.take(1)[0].prompt + "\n"
            ids = lm.template.render([{"role": "user", "content": text}], add_generation_prompt=True).ids
        prompts.append(ids)
    return prompts


def contenders(
    args: argparse.Namespace, folder: Path, dtype: str, prompts: list[list[int]]
) -> list[Contender]:
    spec = {"folder": str(folder), "dtype": dtype, "warmup": prompts[:4]}
    found = [Contender(OUR, OURS, "ours_generate.py", spec, kit="")]
    found.append(Contender(HF, common.python_of(args.peers), "hf_generate.py", spec, kit="trl"))
    if args.skip_vllm or dtype != "bfloat16":
        return found
    longest = max(map(len, prompts)) + args.max_tokens
    more = {"block_size": args.vllm_block, "window": longest, "max_batch": 256, "eager": args.vllm_eager}
    env = {
        "VLLM_CPU_KVCACHE_SPACE": "4",
        # one process, as the others, on all cores: its own way keeps one core free for its scheduler
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(usable_cores())),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    python = common.python_of(args.vllm)
    return [*found, Contender(VLLM, python, "vllm_generate.py", spec | more, kit="vllm", env=env)]


def ask(scenario: Scenario, args: argparse.Namespace, batch: int, want_ids: bool = False) -> dict[str, Any]:
    return {
        "prompts": scenario.prompts,
        "n": scenario.n,
        "temperature": scenario.temperature,
        "max_tokens": args.max_tokens,
        "batch": batch,
        "seed": args.seed,
        "want_ids": want_ids,
    }


def check_fp32(exact: Sequence[Running], scenario: Scenario, args: argparse.Namespace) -> dict[str, Any]:
    """Greedy tokens of ours and HF in float32. Raises ShoestringError where they differ."""
    ours, peer = exact
    found = {r.name: r.take_turn(ask(scenario, args, 4, want_ids=True))["ids"] for r in exact}
    gaps = first_gaps(ours, scenario.prompts, found[ours.name], found[peer.name])
    if any(gap > FP32_TIE for gap in gaps):
        raise ShoestringError(
            f"greedy tokens in float32 differ from HF's: gaps of {gaps} between the two best"
        )
    same = sum(a == b for a, b in zip(*found.values(), strict=True))
    print(f"float32, greedy: {same} of {len(scenario.prompts)} completions equal to HF's, no real difference")
    return {"completions": len(scenario.prompts), "equal": same, "gaps": gaps, "reference": found[ours.name]}


def first_gaps(
    judge: Running, prompts: list[list[int]], one: list[list[int]], other: list[list[int]]
) -> list[float]:
    """Between the two best next tokens in float32, at the first token where two completions part."""
    parted = []
    for prompt, a, b in zip(prompts, one, other, strict=True):
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
        if at is not None:
            parted.append(prompt + a[:at])
    return judge.take_turn({"gaps": parted})["gaps"] if parted else []


def check_bf16(
    exact: Running, fast: Sequence[Running], scenario: Scenario, reference: Any, args: argparse.Namespace
) -> dict[str, Any]:
    """Where each contender's bf16 greedy tokens leave the float32 ones, and how near a tie that was."""
    found = {}
    for one in fast:
        made = one.take_turn(ask(scenario, args, 4, want_ids=True))["ids"]
        gaps = first_gaps(exact, scenario.prompts, reference, made)
        found[one.name] = {"parted": len(gaps), "largest_gap": max(gaps, default=0.0)}
        near = f"largest gap {max(gaps, default=0.0):.3f}, {sum(g < BF16_TIE for g in gaps)} under {BF16_TIE}"
        print(f"bf16, greedy: {one.name} leaves float32's tokens in {len(gaps)} completions; {near}")
    return found


def tabulate(scenario: Scenario, rounds: Rounds, names: Sequence[str]) -> dict[str, Any]:
    speeds = {name: common.series(rounds, name, "tokens", "seconds") for name in names}
    result: dict[str, Any] = {
        "title": scenario.title,
        "prompts": len(scenario.prompts),
        "prompt_tokens": sum(map(len, scenario.prompts)),
        "tokens_per_second": {name: common.spread(speeds[name]) for name in names},
        "ours_over": {name: common.ratios(speeds[OUR], speeds[name]) for name in names if name != OUR},
        "peak_gflops": common.spread(common.series(rounds, common.PEAK, "bf16_gflops")),
    }
    rows = [
        (
            name,
            common.in_words(result["tokens_per_second"][name]),
            common.in_words(result["ours_over"][name], 2) if name != OUR else "",
        )
        for name in names
    ]
    common.show(scenario.title, ("", "tokens/s, median (min-max)", "ours over it"), rows)
    return result


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=5)
    parser.add_argument("--vllm", type=Path, default=Path(".venv-vllm"), help="where vLLM's CPU build lies")
    parser.add_argument("--skip-vllm", action="store_true")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--samples", type=int, default=8, help="a prompt, where prompts are shared")
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128], help="tried with HF")
    parser.add_argument("--greedy", action="store_true", help="distinct prompts at temperature 0 too")
    parser.add_argument("--vllm-eager", action="store_true", help="without its compilation")
    parser.add_argument("--vllm-block", type=int, default=32)
    return parser.parse_args()


def main() -> None:
    args = parse()
    described = common.machine()
    lm = load(args.model, dtype="float32")
    prompts = make_prompts(lm, args.prompts, args.prompt_tokens, args.seed)
    shared = prompts[: max(1, args.prompts // args.samples)]
    scenarios = [
        Scenario(f"{len(prompts)} distinct prompts, sampled", prompts, 1, 1.0),
        Scenario(f"{len(shared)} prompts x {args.samples} samples", shared, args.samples, 1.0),
    ]
    if args.greedy:
        scenarios.append(Scenario(f"{len(prompts)} distinct prompts, greedy", prompts, 1, 0.0))
    few = Scenario("check", prompts[:8], 1, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lm.save(folder)
        with running(contenders(args, folder, "float32", prompts)) as exact:
            checks = {"float32": check_fp32(exact, few, args)}
            specs = [*contenders(args, folder, "bfloat16", prompts), common.matmul_peak(args.peak_size)]
            with running(specs) as fast:
                reference = checks["float32"].pop("reference")
                checks["bfloat16"] = check_bf16(exact[0], fast[:-1], few, reference, args)
                for one in exact:
                    one.close()
                hf = next(r for r in fast if r.name == HF)
                results = []
                for scenario in scenarios:
                    tried = {
                        size: hf.take_turn(ask(scenario, args, size))["seconds"] for size in args.batches
                    }
                    best = min(tried, key=lambda size: tried[size])
                    rounds = interleave(fast, args.rounds, lambda *_, s=scenario, b=best: ask(s, args, b))
                    results.append(tabulate(scenario, rounds, [r.name for r in fast[:-1]]))
                    results[-1]["hf_seconds_by_batch"] = tried
                whole = {"checks": checks, "contenders": common.facts(fast), "scenarios": results}
    common.report("rollouts", args, described, whole)


if __name__ == "__main__":
    common.start(main)
