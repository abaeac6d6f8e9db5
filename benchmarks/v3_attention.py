"""Decoding with latent attention beside the same network with plain heads (GQA, MHA) in its place: greedy
tokens per second of our engine after short and long prompts, and the bytes that a token of context keeps.

Weights are random, in one architecture but for attention; no drafts, since plain heads have none here. Every
completion is exactly --max-tokens long (end-of-turn ignored). The prompt's reading is not in the figures: it
is timed apart, with one token more, and taken off.
"""

import argparse
import dataclasses
import random
import tempfile
from pathlib import Path
from typing import Any

import common
from contenders import OURS, Contender, Running, interleave, running
from rollouts import Scenario, ask
from v3_train import open_model, random_ids

from shoestring.errors import BadInput
from shoestring.jobs.pretrain_settings import plain_attention
from shoestring.lm import LanguageModel
from shoestring.models.parameters import cache_per_token
from shoestring.models.presets import PRESETS
from shoestring.models.transformer import Transformer

MLA, GQA, MHA = "MLA", "GQA", "MHA"


def kinds(lm: LanguageModel, seed: int) -> dict[str, LanguageModel]:
    """The model, and the same with plain heads, weights drawn anew."""
    found = {MLA: lm}
    for name, kind in ((GQA, "gqa"), (MHA, "mha")):
        config = plain_attention(lm.config, kind)
        network = Transformer(config)
        network.init_weights(seed)
        found[name] = dataclasses.replace(lm, network=network, config=config)
    return found


def measure(args: argparse.Namespace, name: str) -> dict[str, Any]:
    lm = open_model(name, args.seed)
    most = max(args.prompt_tokens) + args.max_tokens
    if most > lm.config.max_position_embeddings:
        window = lm.config.max_position_embeddings
        raise BadInput(
            f"{most} tokens of prompt and completion are more than the {window} of {name}'s window"
        )
    models, rng = kinds(lm, args.seed), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        specs = []
        for kind, one in models.items():
            own = Path(folder) / kind
            one.save(own)
            spec = {"folder": str(own), "dtype": "bfloat16", "warmup": [[1, 2, 3]], "draft_tokens": 0}
            specs.append(Contender(kind, OURS, "ours_v3_decode.py", spec, kit=""))
        with running(specs) as contenders:
            found = []
            for batch in args.batches:
                for length in args.prompt_tokens:
                    prompts = [random_ids(lm.config, length, rng) for _ in range(batch)]
                    found.append(scenario(args, name, prompts, contenders))
            facts = common.facts(contenders)
    kept = {kind: cache_per_token(one.config).own for kind, one in models.items()}
    return {"cache_bytes_per_token": kept, "contenders": facts, "scenarios": found}


def scenario(
    args: argparse.Namespace, name: str, prompts: list[list[int]], contenders: list[Running]
) -> dict[str, Any]:
    """All `prompts` at once, whole and with one token alone, in turns."""
    batch, length = len(prompts), len(prompts[0])
    title = f"V3 decode, {name}, batch {batch}, after prompts of {length}"
    whole = ask(Scenario(title, prompts, 1, 0.0), args, batch)
    interleave(contenders, 1, lambda *_: whole | {"max_tokens": 8})  # caches grow, kernels compile
    reading = interleave(contenders, args.rounds, lambda *_: whole | {"max_tokens": 1})
    rounds = interleave(contenders, args.rounds, lambda *_: whole)
    made = batch * (args.max_tokens - 1)
    speeds = {}
    for one in contenders:
        seconds = common.series(rounds, one.name, "seconds")
        before = common.spread(common.series(reading, one.name, "seconds"))["median"]
        speeds[one.name] = [made / (total - before) for total in seconds]
    over = {kind: common.ratios(speeds[MLA], speeds[kind]) for kind in (GQA, MHA)}
    rows = [
        (
            kind,
            common.in_words(common.spread(values)),
            common.in_words(over[kind], 2) if kind in over else "",
        )
        for kind, values in speeds.items()
    ]
    common.show(title, ("", "tokens/s, median (min-max)", "MLA over it"), rows)
    spreads = {kind: common.spread(values) for kind, values in speeds.items()}
    return {"batch": batch, "prompt_tokens": length, "tokens_per_second": spreads, "mla_over": over}


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=5)
    parser.add_argument("--preset", nargs="+", default=["tiny", "small"], choices=[*PRESETS])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="completions at once")
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[32, 1024])
    parser.add_argument("--max-tokens", type=int, default=128)
    return parser.parse_args()


def main() -> None:
    args = parse()
    described = common.machine()
    models = {name: measure(args, name) for name in args.preset}
    for name, found in models.items():
        kept = ", ".join(f"{kind} {size:,}" for kind, size in found["cache_bytes_per_token"].items())
        print(f"{name}: bytes that a token of context keeps in bfloat16: {kept}")
    common.report("v3_attention", args, described, {"models": models})


if __name__ == "__main__":
    common.start(main)
