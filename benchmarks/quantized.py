"""What quantised weights gain in time and cost in accuracy, all forms in one process, in turns.

python benchmarks/quantized.py [--model MODEL] [--rounds N] [--json FILE] [--only products,streams,accuracy]
python benchmarks/quantized.py --only kept --model MODEL --base smollm2-135m

products: one matrix of a 135M model at several row counts, as GB/s of weights and GFLOP/s. streams: tokens a
second of the whole engine, greedy, prompts of 100 tokens read before the clock starts. accuracy: the mean KL
divergence from bf16 and the share of places where the likeliest token is another, over bf16's own replies to
32 chat prompts. kept: of what training changed in the layers' matrices since --base, how much each form
keeps."""

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import machine, report, show, spread, start
from torch.nn import functional as F

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.evals.chat_prompts import CHAT_PROMPTS
from shoestring.lm import LanguageModel, Quantize, load
from shoestring.models.linear import Linear
from shoestring.ops.quantized import Quantized, dequantize, pack, quantize_4, quantize_8
from shoestring.text.message import Message

SHAPES = {"gate and up": (3072, 576), "down": (576, 1536), "head": (49152, 576)}
ROWS = (1, 4, 16, 64, 128)
STREAMS = (1, 16, 64, 128)
PROMPT, NEW = 100, 64
FORMS: dict[str, Quantize | None] = {"bf16": None, "int8": "int8", "int4": "int4", "file": "file"}
PARTS = ("products", "streams", "accuracy", "kept")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m", help="any model that shoestring loads")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every form")
    parser.add_argument("--forms", default="bf16,int8,int4", help="bf16, int8, int4, file")
    parser.add_argument("--only", default=",".join(PARTS[:3]))
    parser.add_argument("--base", default="smollm2-135m", help="for kept: what --model was trained from")
    parser.add_argument("--json", type=Path, help="write what was measured")
    args = parser.parse_args()
    described, wanted = machine(), args.only.split(",")
    unknown = [word for word in wanted if word not in PARTS] + [
        word for word in args.forms.split(",") if word not in FORMS
    ]
    if unknown:
        raise BadInput(f"{unknown[0]!r} is not known; parts: {', '.join(PARTS)}; forms: {', '.join(FORMS)}")
    results: dict[str, Any] = {"threads": torch.get_num_threads()}
    with torch.no_grad():
        if "products" in wanted:
            results["read_gb_s"] = read_speed(args.rounds)
            results["products"] = products(args.rounds)
        if "kept" in wanted:
            results["kept"] = kept(load(args.model, "float32"), load(args.base, "float32"))
        if {"streams", "accuracy"} & {*wanted}:
            lms = {form: load(args.model, "bfloat16", quantize=FORMS[form]) for form in args.forms.split(",")}
            results["weights"] = {form: lm.quantized for form, lm in lms.items()}
            for form, lm in lms.items():
                print(f"{form}: {lm.quantized or 'weights in bf16'}")
            if "streams" in wanted:
                results["streams"] = streams(lms, args.rounds)
            if "accuracy" in wanted:
                results["accuracy"] = accuracy(lms)
    report("quantized", args, described, results)


def seconds_of(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def read_speed(rounds: int) -> dict[str, Any]:
    """GB/s of summing 1 GiB, more than any cache."""
    data = torch.ones(1 << 28)
    found = spread([data.nbytes / seconds_of(data.sum) / 1e9 for _ in range(rounds)])
    print(f"memory read: {found['median']:.0f} GB/s")
    return found


def products(rounds: int) -> list[dict[str, Any]]:
    """Twelve matrices of a kind one after the other, so that they come from memory and not from a small
    cache."""
    made, table = [], []
    for name, (wide, depth) in SHAPES.items():
        count = 2 if wide > 10_000 else 12
        weights = [torch.randn(wide, depth) / depth**0.5 for _ in range(count)]
        linears = [_linear(weight, None) for weight in weights]
        eights = [_linear(weight, pack(quantize_8(weight))) for weight in weights]
        fours = [_linear(weight, pack(quantize_4(weight))) for weight in weights]
        plain = [weight.bfloat16() for weight in weights]
        for rows in ROWS:
            x = torch.randn(rows, depth).bfloat16()
            calls: dict[str, Callable[[], object]] = {
                "torch bf16": lambda x=x, plain=plain: [F.linear(x, weight) for weight in plain],
                "bf16": lambda x=x, linears=linears: [linear(x) for linear in linears],
                "int8": lambda x=x, eights=eights: [linear(x) for linear in eights],
                "int4": lambda x=x, fours=fours: [linear(x) for linear in fours],
            }
            turns: dict[str, list[float]] = {kind: [] for kind in calls}
            for call in calls.values():
                call()
            for _ in range(3 * rounds):
                for kind, call in calls.items():
                    turns[kind].append(seconds_of(call) / count)
            nbytes = {"torch bf16": plain[0].nbytes, "bf16": plain[0].nbytes}
            nbytes |= {"int8": eights[0].quantized.nbytes, "int4": fours[0].quantized.nbytes}  # type: ignore[union-attr]
            flops = 2 * rows * wide * depth
            for kind, seconds in turns.items():
                taken = spread(seconds)
                row = {"matrix": name, "rows": rows, "kind": kind, "us": taken["median"] * 1e6}
                row |= {"min_us": taken["min"] * 1e6, "max_us": taken["max"] * 1e6}
                row |= {
                    "gb_s": nbytes[kind] / taken["median"] / 1e9,
                    "gflop_s": flops / taken["median"] / 1e9,
                }
                ratios = [a / b for a, b in zip(turns["bf16"], seconds, strict=True)]
                made.append(row | {"times_bf16": spread(ratios)["median"]})
                table.append(
                    (f"{name} {wide}x{depth}, {rows}", kind, f"{row['us']:.0f}", f"{row['gb_s']:.1f}",
                     f"{row['gflop_s']:.0f}", f"{made[-1]['times_bf16']:.2f}")
                )  # fmt: skip
    show("products", ("matrix, rows", "kind", "us", "GB/s", "GFLOP/s", "speed / bf16"), table)
    return made


def kept(trained: LanguageModel, base: LanguageModel) -> dict[str, Any]:
    """change: what training did, as the root of the sum of squares; error: of rounding what it made; share:
    the change of the rounded weights since the base, along training's own."""
    before = dict(base.network.public_tensors())
    found: dict[str, Any] = {}
    for form, rounded in (("int8", quantize_8), ("int4", quantize_4)):
        change = error = along = 0.0
        for name, tensor in trained.network.public_tensors():
            if tensor.ndim != 2 or ".layers." not in name:
                continue
            after = dequantize(pack(rounded(tensor)))
            step = tensor - before[name]
            change += float(step.square().sum())
            error += float((after - tensor).square().sum())
            along += float(((after - before[name]) * step).sum())
        found[form] = {"change": change**0.5, "error": error**0.5, "share": along / change}
    rows = [(f, f"{v['change']:.2f}", f"{v['error']:.2f}", f"{v['share']:.1%}") for f, v in found.items()]
    show("of what training changed", ("weights", "change", "error of rounding", "of the change kept"), rows)
    return found


def _linear(weight: torch.Tensor, matrix: Quantized | None) -> Linear:
    linear = Linear(weight.shape[1], weight.shape[0], bias=False).bfloat16()
    linear.packs = True
    linear.weight.data.copy_(weight)
    if matrix is not None:
        linear.quantize(matrix)
    return linear


def streams(lms: dict[str, LanguageModel], rounds: int) -> list[dict[str, Any]]:
    made, table = [], []
    for count in STREAMS:
        turns: dict[str, list[float]] = {form: [] for form in lms}
        for turn in range(rounds + 1):
            for form, lm in lms.items():
                speed = decode_speed(lm, count)
                if turn:  # the first warms up
                    turns[form].append(speed)
        for form, values in turns.items():
            found = spread(values)
            ratios = spread([a / b for a, b in zip(values, next(iter(turns.values())), strict=True)])
            made.append({"streams": count, "form": form, "tokens_s": found, "ratio": ratios})
            table.append(
                (f"{count}", form, f"{found['median']:.0f} ({found['min']:.0f}-{found['max']:.0f})",
                 f"{ratios['median']:.2f}")
            )  # fmt: skip
    show("decode, tokens a second", ("streams", "weights", "median (range)", "/ first"), table)
    return made


def decode_speed(lm: LanguageModel, count: int) -> float:
    generator = torch.Generator().manual_seed(count)
    high = min(lm.tokenizer.vocab_size, 40_000)
    params = SamplingParams(max_tokens=NEW, temperature=0.0, ignore_eos=True)
    engine = Engine(lm, draft_tokens=0)
    for i in range(count):
        engine.submit(torch.randint(100, high, (PROMPT,), generator=generator).tolist(), params, str(i))
    while engine.scheduler.waiting or engine.scheduler.readings:
        engine.step()
    gc.collect()
    began, steps = time.perf_counter(), 0
    while engine.scheduler.running:
        engine.step()
        steps += 1
    return count * steps / (time.perf_counter() - began)


def accuracy(lms: dict[str, LanguageModel]) -> dict[str, Any]:
    first = next(iter(lms.values()))
    prompts = [
        first.template.render([Message(role="user", content=p.turns[0])], add_generation_prompt=True).ids
        for p in CHAT_PROMPTS
    ]
    replies = Engine(first).generate(prompts, SamplingParams(max_tokens=48, temperature=0.0))
    texts = [[*p, *reply[0].ids] for p, reply in zip(prompts, replies, strict=True)]
    found: dict[str, Any] = {}
    base: list[torch.Tensor] = []
    rows = []
    for form, lm in lms.items():
        own = [
            lm.logits([text])[0, len(p) - 1 : -1].log_softmax(-1)
            for text, p in zip(texts, prompts, strict=True)
        ]
        base = base or own
        kl = torch.cat([(b.exp() * (b - o)).sum(-1) for b, o in zip(base, own, strict=True)])
        flips = torch.cat([b.argmax(-1) != o.argmax(-1) for b, o in zip(base, own, strict=True)])
        found[form] = {
            "tokens": len(kl),
            "mean_kl": float(kl.mean()),
            "largest_kl": float(kl.max()),
            "flips": float(flips.float().mean()),
        }
        rows.append(
            (form, f"{float(kl.mean()):.5f}", f"{float(kl.max()):.3f}", f"{float(flips.float().mean()):.2%}")
        )
    show(
        f"against {next(iter(lms))}, {len(kl)} tokens of {len(prompts)} replies",
        ("weights", "mean KL, nats", "largest", "another likeliest token"),
        rows,
    )
    return found


if __name__ == "__main__":
    start(main)
