"""Greedy tokens per second of the V3 architecture: our engine (latents in the cache, up-projections absorbed)
beside transformers' `generate` with its cache, and with drafts of the model's own MTP module beside without.

A preset has random weights, and what its MTP module drafts is as good as never right: such a run shows what
drafts cost. What they save is shown by --model and a trained model's folder. Every completion is exactly
--max-tokens long (end-of-turn ignored). The prompt's reading is inside the time.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
from contenders import OURS, Contender, Rounds, Running, interleave, running
from rollouts import FP32_TIE, Scenario, ask, check_bf16, check_fp32, first_gaps, make_prompts
from v3_train import open_model, random_ids

from shoestring.engine.draft import DraftCount
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.models.presets import PRESETS

OUR, DRAFTS, HF = "shoestring", "shoestring drafts", "HF generate"


def take_prompts(args: argparse.Namespace, lm: LanguageModel) -> list[list[int]]:
    """Of exactly --prompt-tokens. Chats for a trained model, since acceptance hangs on what it reads."""
    count = max(8, *args.batches)
    if args.model:
        prompts = make_prompts(lm, count, args.prompt_tokens, args.seed)
        return [ids[: args.prompt_tokens] for ids in prompts]
    rng = random.Random(args.seed)
    return [random_ids(lm.config, args.prompt_tokens, rng) for _ in range(count)]


def contenders(
    args: argparse.Namespace, lm: LanguageModel, folder: str, dtype: str, warmup: list[list[int]]
) -> list[Contender]:
    spec = {"folder": folder, "dtype": dtype, "warmup": warmup}
    found = [
        Contender(OUR, OURS, "ours_v3_decode.py", spec | {"draft_tokens": 0}, kit=""),
        Contender(HF, common.python_of(args.peers), "hf_v3_decode.py", spec, kit="trl"),
    ]
    if lm.config.num_nextn_predict_layers:
        drafting = spec | {"draft_tokens": args.draft_tokens}
        found.append(Contender(DRAFTS, OURS, "ours_v3_decode.py", drafting, kit=""))
    return found


def check_drafts(
    plain: Running, drafting: Running, few: Scenario, reference: Any, args: argparse.Namespace
) -> int:
    """Float32 tokens with drafts beside `reference`, without. Raises ShoestringError where they differ."""
    made = drafting.take_turn(ask(few, args, len(few.prompts), want_ids=True))["ids"]
    gaps = first_gaps(plain, few.prompts, reference, made)
    if any(gap > FP32_TIE for gap in gaps):
        raise ShoestringError(f"drafts change greedy tokens in float32: gaps of {gaps} between the two best")
    same = sum(a == b for a, b in zip(reference, made, strict=True))
    print(f"float32, greedy: {same} of {len(made)} completions equal with drafts and without")
    return same


def tabulate(title: str, rounds: Rounds, names: Sequence[str]) -> dict[str, Any]:
    speeds = {name: common.series(rounds, name, "tokens", "seconds") for name in names}
    mine = [name for name in names if name != HF]
    result: dict[str, Any] = {
        "title": title,
        "tokens_per_second": {name: common.spread(speeds[name]) for name in names},
        "over_hf": {name: common.ratios(speeds[name], speeds[HF]) for name in mine},
        "peak_gflops": common.spread(common.series(rounds, common.PEAK, "bf16_gflops")),
    }
    if DRAFTS in names:
        turns = [r[DRAFTS]["drafted"] for r in rounds]
        count = DraftCount(**{name: sum(turn[name] for turn in turns) for name in turns[0]})
        result["drafts_over_none"] = common.ratios(speeds[DRAFTS], speeds[OUR])
        result |= {"acceptance": count.acceptance, "tokens_per_forward": count.tokens_per_forward}
    rows = [
        (
            name,
            common.in_words(result["tokens_per_second"][name]),
            common.in_words(result["over_hf"][name], 2) if name in mine else "",
            common.in_words(result["drafts_over_none"], 2) if name == DRAFTS else "",
            f"{result['acceptance']:.0%}" if name == DRAFTS else "",
            f"{result['tokens_per_forward']:.2f}" if name == DRAFTS else "",
        )
        for name in names
    ]
    columns = ("", "tokens/s, median (min-max)", "over HF", "over no drafts", "drafts kept", "tokens a pass")
    common.show(title, columns, rows)
    return result


def measure(args: argparse.Namespace, name: str) -> dict[str, Any]:
    lm = open_model(name, args.seed)
    window = lm.config.max_position_embeddings
    if args.prompt_tokens + args.max_tokens > window:
        raise BadInput(
            f"--prompt-tokens {args.prompt_tokens} and --max-tokens {args.max_tokens} are more than the "
            f"{window} tokens of the window of {name}"
        )
    prompts = take_prompts(args, lm)
    few = Scenario("check", prompts[:8], 1, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        lm.save(folder)
        with running(contenders(args, lm, folder, "float32", prompts[:4])) as exact:
            checks: dict[str, Any] = {"float32": check_fp32(exact[:2], few, args)}
            reference = checks["float32"].pop("reference")
            for drafting in exact[2:]:
                checks["equal_with_drafts"] = check_drafts(exact[0], drafting, few, reference, args)
                drafting.close()
            specs = contenders(args, lm, folder, "bfloat16", prompts[:4])
            with running([*specs, common.matmul_peak(args.peak_size)]) as fast:
                checks["bfloat16"] = check_bf16(exact[0], fast[:-1], few, reference, args)
                for one in exact:
                    one.close()
                results = [batch_of(args, lm.name, prompts[:count], fast) for count in args.batches]
                return {"checks": checks, "contenders": common.facts(fast), "scenarios": results}


def batch_of(
    args: argparse.Namespace, name: str, prompts: list[list[int]], fast: Sequence[Running]
) -> dict[str, Any]:
    """All `prompts` at once, transformers with the fastest of its ways to run experts, each tried twice."""
    scenario = Scenario(f"V3 decode, {name}, batch {len(prompts)}", prompts, 1, 0.0)
    request = ask(scenario, args, len(prompts))
    hf = next(one for one in fast if one.name == HF)
    tried = {
        way: min(hf.take_turn(request | {"experts": way})["seconds"] for _ in range(2))
        for way in args.experts
    }
    best = min(tried, key=lambda way: tried[way])
    rounds = interleave(fast, args.rounds, lambda *_: request | {"experts": best})
    result = tabulate(scenario.title, rounds, [one.name for one in fast[:-1]])
    if not args.model and DRAFTS in result["over_hf"]:
        print("drafts of random weights: what they cost, not what they save (--model takes a trained one)")
    return result | {"batch": len(prompts), "hf_seconds_by_experts": tried}


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=5)
    parser.set_defaults(model="")  # else a trained model's folder, in place of a preset
    parser.add_argument("--preset", nargs="+", default=["tiny", "small"], choices=[*PRESETS])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="completions at once")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--draft-tokens", type=int, default=1, help="ahead, of the side that drafts")
    parser.add_argument(
        "--experts", nargs="+", default=["eager", "batched_mm", "grouped_mm"], help="HF's ways to run them"
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    described = common.machine()
    names = [args.model] if args.model else args.preset
    models = {Path(name).name: measure(args, name) for name in names}
    common.report("v3_decode", args, described, {"models": models})


if __name__ == "__main__":
    common.start(main)
