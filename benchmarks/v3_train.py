"""Training tokens per second of the V3 architecture: our step beside transformers' DeepseekV3 in a plain
loop, and beside our own step of a dense model whose token costs as much.

Rows are random ids, others in every step, since a step's speed depends on how it loads the experts. The loss
is the next token's alone: no MTP, no balance loss, no moving bias. transformers takes part with the fastest
of its variants here: autocast over float32 weights (ours are bf16 with float32 masters) or bf16 weights, each
way it has to run experts, in several batch sizes.
"""

import argparse
import dataclasses
import random
import tempfile
from pathlib import Path
from typing import Any

import common
import torch
from contenders import OURS, Contender, Rounds, best_of, interleave, running

from shoestring.budget.flops import token_flops
from shoestring.errors import ShoestringError
from shoestring.jobs.pretrain_settings import PretrainSettings
from shoestring.lm import LanguageModel, load
from shoestring.models.config import ModelConfig
from shoestring.models.presets import PRESETS, preset_config
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.text.template import Template
from shoestring.text.train_tokenizer import CHAT_TEMPLATE_SOURCE, EOS, LEAST_VOCAB, SPECIAL, train_tokenizer

OUR, DENSE, HF = "shoestring", "shoestring dense", "HF DeepseekV3"
LEARNING_RATE = 1e-3
LOSS_TOLERANCE = 2e-3  # of float32 losses, the second and third after an update on each side
ROUNDED = 32  # the dense model's inner width is a multiple of it: odd shapes have slow products

Step = list[list[int]]


def open_model(name: str, seed: int) -> LanguageModel:
    """A preset with random weights and a tokenizer of single bytes, or what `load` takes; in float32."""
    if name not in PRESETS:
        return load(name, dtype="float32")
    tokenizer = train_tokenizer([], LEAST_VOCAB)
    end = tokenizer.token_id(EOS)
    assert end is not None
    config = preset_config(name, eos_token_id=(end,))
    template = Template(tokenizer, CHAT_TEMPLATE_SOURCE, config.eos_token_id)
    network = Transformer(config)
    network.init_weights(seed)
    return LanguageModel(network, tokenizer, template, config, Lineage(()), name)


def random_ids(config: ModelConfig, count: int, rng: random.Random) -> list[int]:
    return rng.choices(range(len(SPECIAL), config.vocab_size), k=count)


def without_mtp(lm: LanguageModel) -> LanguageModel:
    """The same weights but for the MTP modules, which transformers doesn't have."""
    config = dataclasses.replace(lm.config, num_nextn_predict_layers=0)
    network, own = Transformer(config), dict(lm.network.public_tensors())
    with torch.no_grad():
        for name, tensor in network.public_tensors():
            tensor.copy_(own[name])
    return dataclasses.replace(lm, network=network, config=config)


def dense_twin(lm: LanguageModel, seed: int) -> LanguageModel:
    """Random weights, without experts and as near in FLOPs a token as `ROUNDED` allows: every layer as wide
    inside as what a token meets in the mean, routers included."""
    c = dataclasses.replace(lm.config, n_routed_experts=0, intermediate_size=ROUNDED)
    each = 2 * 3 * c.hidden_size * c.num_hidden_layers  # FLOPs a token of one more inner dimension
    missing = (token_flops(lm.config) - token_flops(c)) / each
    c = dataclasses.replace(c, intermediate_size=ROUNDED + round(missing / ROUNDED) * ROUNDED)
    network = Transformer(c)
    network.init_weights(seed)
    return dataclasses.replace(lm, network=network, config=c)


def ours(name: str, folder: Path, dtype: str, steps: list[Step], warmup: int) -> Contender:
    spec = {
        "folder": str(folder),
        "dtype": dtype,
        "steps": steps,
        "warmup_steps": warmup,
        "learning_rate": LEARNING_RATE,
        "micro_batch_tokens": PretrainSettings.model_fields["micro_batch_tokens"].default,
    }
    return Contender(name, OURS, "ours_v3_train.py", spec, kit="")


def hf(
    args: argparse.Namespace,
    folder: Path,
    precision: str,
    experts: str,
    batch: int,
    steps: list[Step],
    warmup: int,
) -> Contender:
    spec = {
        "folder": str(folder),
        "precision": precision,
        "experts": experts,
        "batch": batch,
        "steps": steps,
        "warmup_steps": warmup,
        "learning_rate": LEARNING_RATE,
    }
    name = f"{HF} {precision} {experts} {batch}"
    return Contender(name, common.python_of(args.peers), "hf_v3_train.py", spec, kit="trl")


def check_loss(args: argparse.Namespace, folder: Path, steps: list[Step]) -> dict[str, Any]:
    """Three float32 steps on 4 rows each: the loss, and after an update the loss again. Raises
    ShoestringError where they differ."""
    few = [step[:4] for step in steps[:3]]
    sides = [ours(OUR, folder, "float32", few, 0), hf(args, folder, "float32", "eager", len(few[0]), few, 0)]
    with running(sides) as both:
        rounds = interleave(both, 3, lambda *_: {})
        losses = {one.name: common.series(rounds, one.name, "loss") for one in both}
    mine, theirs = losses.values()
    worst = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    for name, values in losses.items():
        print(f"float32 losses of three steps, {name}: {', '.join(f'{v:.5f}' for v in values)}")
    if worst > LOSS_TOLERANCE:
        raise ShoestringError(f"losses differ by {worst:.4f}, more than {LOSS_TOLERANCE}: not the same work")
    return {"losses": losses, "largest_difference": worst}


def tabulate(title: str, rounds: Rounds, peer: str) -> dict[str, Any]:
    """Useful FLOPs are what the mathematics needs: chosen experts, keys that may be seen. The peer's are ours
    for as many tokens; the dense model's are its own."""
    names = (OUR, peer, DENSE)
    speeds = {name: common.series(rounds, name, "tokens", "seconds") for name in names}
    counted = {name: name if name != peer else OUR for name in names}
    flops = {
        name: [
            speed * turn[counted[name]]["flops"] / turn[counted[name]]["tokens"] / 1e9
            for speed, turn in zip(speeds[name], rounds, strict=True)
        ]
        for name in names
    }
    peak = common.spread(common.series(rounds, common.PEAK, "bf16_gflops"))
    shares = {name: common.spread([f / peak["median"] for f in flops[name]]) for name in names}
    result = {
        "tokens_per_second": {name: common.spread(values) for name, values in speeds.items()},
        "ours_over": {peer: common.ratios(speeds[OUR], speeds[peer])},
        # how much of a dense model's speed is left, FLOP for FLOP
        "ours_flops_over_dense": common.ratios(flops[OUR], flops[DENSE]),
        "useful_gflops": {name: common.spread(values) for name, values in flops.items()},
        "share_of_peak": shares,
        "peak_gflops": peak,
    }
    over = result["ours_over"] | {DENSE: result["ours_flops_over_dense"]}
    table = [
        (
            name,
            common.in_words(result["tokens_per_second"][name]),
            common.in_words(result["useful_gflops"][name]),
            f"{shares[name]['median']:.0%}",
            common.in_words(over[name], 2) if name in over else "",
        )
        for name in names
    ]
    columns = ("", "tokens/s, median (min-max)", "useful GFLOP/s", "of the peak", "ours over it")
    common.show(f"{title}; bf16 matmul peak {common.in_words(peak)} GFLOP/s", columns, table)
    print("ours over the dense model: in useful FLOPs a second, since a token of each costs a little other")
    return result


def measure(args: argparse.Namespace, name: str) -> dict[str, Any]:
    lm, rng = without_mtp(open_model(name, args.seed)), random.Random(args.seed)
    steps = [
        [random_ids(lm.config, args.length, rng) for _ in range(args.rows)]
        for _ in range(args.warmup_steps + max(args.rounds, 3))
    ]
    dense = dense_twin(lm, args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder, beside = Path(temporary) / "v3", Path(temporary) / "dense"
        lm.save(folder)
        dense.save(beside)
        checks = check_loss(args, folder, steps)
        variants = [
            hf(args, folder, precision, experts, batch, steps, args.warmup_steps)
            for precision in args.precisions
            for experts in args.experts
            for batch in sorted({min(batch, args.rows) for batch in args.batches})
        ]
        best, tried = best_of(variants, lambda answer: answer["tokens"] / answer["seconds"])
        mine = [
            ours(OUR, folder, "bfloat16", steps, args.warmup_steps),
            ours(DENSE, beside, "bfloat16", steps, args.warmup_steps),
        ]
        with running([mine[0], best, mine[1], common.matmul_peak(args.peak_size)]) as contenders:
            rounds = interleave(contenders, args.rounds, lambda *_: {})
            title = f"V3 training, {lm.name}, {args.rows} rows of {args.length}"
            return {
                "checks": checks,
                "hf_variants_tokens_per_second": tried,
                "dense_intermediate_size": dense.config.intermediate_size,
                "token_flops": {OUR: token_flops(lm.config), DENSE: token_flops(dense.config)},
                "contenders": common.facts(contenders),
                "result": tabulate(title, rounds, best.name),
                "rounds": rounds,
            }


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=6)
    parser.set_defaults(model="")  # else a folder, whose routers load their experts as they learnt to
    parser.add_argument("--preset", nargs="+", default=["tiny", "small"], choices=[*PRESETS])
    parser.add_argument("--rows", type=int, default=16, help="a step")
    parser.add_argument("--length", type=int, default=512, help="of a row, in tokens")
    parser.add_argument("--warmup-steps", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16], help="rows, HF's at once")
    parser.add_argument("--experts", nargs="+", default=["eager", "grouped_mm"], help="HF's ways to run them")
    parser.add_argument(
        "--precisions", nargs="+", default=["autocast", "weights"], choices=["autocast", "weights"]
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    described = common.machine()
    names = [args.model] if args.model else args.preset
    models = {Path(name).name: measure(args, name) for name in names}
    common.report("v3_train", args, described, {"models": models})


if __name__ == "__main__":
    common.start(main)
