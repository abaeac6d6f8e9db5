"""Native kernels against the plain torch versions, in turns, at the shapes of a 135M model.

    python benchmarks/kernels.py [--json FILE] [--rounds N] [--whole]

`--whole` adds a training step and a generation of the whole model in two processes that take turns, one of
them with SHOESTRING_NATIVE=0."""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from shoestring.engine.cache import HeadsCache, Prefilled
from shoestring.models.cache import PackedRows, RowProducts
from shoestring.models.config import ModelConfig
from shoestring.ops import head, norm, rotary, sample, swiglu
from shoestring.ops.hostmemory import keep_freed_memory
from shoestring.ops.limits import Limits, draw_limited
from shoestring.ops.native import Library, find_library, library_for

HIDDEN, INNER, HEADS, KV_HEADS, DIM, VOCAB = 576, 1536, 9, 3, 64, 49152
BF16 = torch.bfloat16
Call = Callable[[], object]


def with_backward(function: Callable[..., object], *leaves: torch.Tensor) -> Call:
    leaves = tuple(t.detach().requires_grad_() for t in leaves)
    pulls: list[torch.Tensor] = []

    def call() -> None:
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if not pulls:
            pulls.extend(torch.randn_like(o) for o in outputs)
        torch.autograd.grad(outputs, leaves, pulls)

    return call


def pairs() -> dict[str, tuple[Call, Call]]:
    """name -> (native, plain)."""
    found: dict[str, tuple[Call, Call]] = {}
    weight = torch.randn(HIDDEN).to(BF16)
    for rows, what in ((4096, "train"), (128, "decode")):
        x, delta = torch.randn(rows, HIDDEN), torch.randn(rows, HIDDEN).to(BF16)
        gate_up = torch.randn(rows, 2 * INNER).to(BF16)
        qkv = torch.randn(rows, HEADS + 2 * KV_HEADS, DIM).to(BF16)
        angles = torch.randn(rows, 1, DIM // 2)
        rope = (angles.cos(), angles.sin())

        def add(x, delta, weight):
            return norm.add_rms_norm(x, delta, weight, 1e-5)

        def add_plain(x, delta, weight):
            total = x + delta
            return total, norm.rms_norm_plain(total, weight, 1e-5)

        def split(qkv, rope=rope):
            return rotary.split_rope(qkv, HEADS, KV_HEADS, *rope)

        def split_plain(qkv, rope=rope):
            q, k, v = qkv.split((HEADS, KV_HEADS, KV_HEADS), dim=1)
            return rotary.apply_rope_plain(q, *rope), rotary.apply_rope_plain(k, *rope), v

        for name, native, plain, leaves in (
            ("add_rms_norm", add, add_plain, (x, delta, weight)),
            ("silu_mul", swiglu.silu_mul, swiglu.silu_mul_plain, (gate_up,)),
            ("split_rope", split, split_plain, (qkv,)),
        ):
            if what == "train":
                calls = [with_backward(f, *leaves) for f in (native, plain)]
            else:
                calls = [functools.partial(f, *leaves) for f in (native, plain)]
            found[f"{name} {rows}" + " + backward" * (what == "train")] = (calls[0], calls[1])
    return found | vocabulary_pairs() | limit_pairs() | attention_pairs()


def vocabulary_pairs() -> dict[str, tuple[Call, Call]]:
    logits = (torch.randn(256, VOCAB) * 3).to(BF16)
    targets, slope, out = torch.randint(VOCAB, (256,)), torch.randn(256), torch.empty_like(logits)
    normalizer = head.target_logprobs_plain(logits, targets, 1.0)[1]
    uniform = torch.rand(256, dtype=torch.float64)
    return {
        "target_logprobs 256": (
            lambda: head.target_logprobs(logits, targets, 1.0),
            lambda: head.target_logprobs_plain(logits, targets, 1.0),
        ),
        "softmax_gradient 256": (
            lambda: head.softmax_gradient_(logits, normalizer, targets, slope, 1.0, out),
            lambda: head.softmax_gradient_plain_(logits, normalizer, targets, slope, 1.0, out),
        ),
        "sample 256": (
            lambda: sample.sample(logits, uniform, 1.0),
            lambda: sample.sample_blocks(logits, uniform, 1.0),
        ),
        "greedy 256": (
            lambda: sample.sample(logits, uniform, 0.0),
            lambda: sample.sample_blocks(logits, uniform, 0.0),
        ),
    }


def limit_pairs() -> dict[str, tuple[Call, Call]]:
    """Drawing within limits against torch's sort of the same logits alone, for one row and for many. The
    logits fall off as a model's do: a few likely words, and a long tail."""
    found: dict[str, tuple[Call, Call]] = {}
    for rows, vocab in ((1, VOCAB), (64, VOCAB), (64, 151936)):
        logits = torch.randn(rows, vocab) * 2.5
        logits[:, :50] += torch.linspace(14, 6, 50)
        uniform = torch.rand(rows, dtype=torch.float64)
        mask = torch.rand(vocab) < 0.01
        mask[:50] = True
        for name, top_k, top_p, min_p, masks in (
            ("top_p 0.95", 0, 0.95, 0.0, [None] * rows),
            ("top_k 50", 50, 1.0, 0.0, [None] * rows),
            ("min_p 0.05", 0, 1.0, 0.05, [None] * rows),
            ("a mask of 1 %", 0, 1.0, 0.0, [mask] * rows),
        ):
            limits = Limits([0.8] * rows, [top_k] * rows, [top_p] * rows, [min_p] * rows)
            found[f"{name}, {rows} x {vocab}"] = (
                partial(draw_limited, logits, uniform, limits, masks),
                partial(torch.sort, logits, dim=-1, descending=True),
            )
    return found


def attention_pairs() -> dict[str, tuple[Call, Call]]:
    found: dict[str, tuple[Call, Call]] = {}
    for families, samples, prefix, own in ((8, 16, 40, 20), (1, 32, 30, 60), (16, 0, 250, 0)):
        lengths = torch.tensor(([prefix] + [own] * samples) * families)
        first = torch.arange(families)[:, None] * (samples + 1)
        parents = torch.cat((torch.full((families, 1), -1), first.expand(-1, samples)), dim=1).flatten()
        rows = (lengths.cumsum(0) - lengths, lengths, parents)
        tokens = int(lengths.sum())
        leaves = [torch.randn(tokens, n, DIM).to(BF16) for n in (HEADS, KV_HEADS, KV_HEADS)]
        name = f"attention + backward {families}x({prefix} + {samples}x{own})"
        found[name] = (
            with_backward(partial(PackedRows(*rows, tokens).attend, 0, scale=DIM**-0.5), *leaves),
            with_backward(partial(RowProducts(*rows, tokens).attend, scale=DIM**-0.5), *leaves),
        )
    for groups, samples in ((128, 1), (16, 8)):
        steps = [decode_call(native, groups, samples) for native in (True, False)]
        found[f"decode attention {groups}x{samples}, 100 + 50"] = (steps[0], steps[1])
    return found


def decode_call(native: bool, groups: int, samples: int) -> Call:
    config = ModelConfig(
        model_type="llama", vocab_size=8, hidden_size=HIDDEN, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=DIM, max_position_embeddings=4096,
        tie_word_embeddings=True, eos_token_id=(0,),
    )  # fmt: skip
    library = library_for(torch.empty(0, dtype=BF16)) if native else None
    cache = HeadsCache(config, BF16, torch.device("cpu"), library)
    cache.reserve(groups, groups * samples, 100)
    kv = [torch.randn(100 * groups, KV_HEADS, DIM).to(BF16)]
    cache.add_groups(
        Prefilled([kv, kv], torch.arange(groups) * 100, torch.full((groups,), 100)), [samples] * groups
    )
    cache.own.resize(groups * samples, 64)
    cache.own.lengths[:] = 50
    cache.begin_step()
    q = torch.randn(groups * samples, HEADS, DIM).to(BF16)
    k = torch.randn(groups * samples, KV_HEADS, DIM).to(BF16)
    return lambda: cache.attend(0, q, k, k, DIM**-0.5)


def milliseconds(call: Call) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def measure(native: Call, plain: Call, rounds: int) -> dict[str, float]:
    for call in (native, plain):
        call()
    turns = [(milliseconds(native), milliseconds(plain)) for _ in range(rounds)]
    return {
        "native_ms": statistics.median(a for a, _ in turns),
        "plain_ms": statistics.median(b for _, b in turns),
        "ratio": statistics.median(b / a for a, b in turns),
    }


def whole(model: str) -> dict[str, float]:
    """Tokens per second of this process's model: one update, one generation; both after a first one."""
    from shoestring.engine.engine import Engine
    from shoestring.engine.request import SamplingParams
    from shoestring.lm import load
    from shoestring.text.message import Rendered
    from shoestring.text.packing import Family, pack
    from shoestring.train.batch import MicroBatch
    from shoestring.train.learner import Learner
    from shoestring.train.loss import sft_loss
    from shoestring.train.optim import OptimSettings

    lm = load(model)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(1000, 40000, (100,), generator=generator).tolist() for _ in range(128)]
    engine = Engine(lm)
    params = SamplingParams(max_tokens=32, temperature=1.0, ignore_eos=True)
    engine.generate(prompts[:4], params)
    began = time.perf_counter()
    engine.generate(prompts, params)
    generated = 128 * 32 / (time.perf_counter() - began)
    rows = [Rendered(p, [False] * 40 + [True] * 60, str(i)) for i, p in enumerate(prompts[:32])]
    packed = pack([Family([], [row]) for row in rows])
    batch = MicroBatch(packed, torch.full((len(packed.targets),), 1 / len(packed.targets)))
    learner = Learner(lm, OptimSettings(), 10)
    learner.update([batch], sft_loss)
    seconds = min(learner.update([batch], sft_loss).seconds for _ in range(3))
    return {"generated_per_s": generated, "trained_per_s": batch.num_tokens / seconds}


def whole_in_turns(model: str, rounds: int) -> dict[str, dict[str, float]]:
    turns: dict[str, list[dict[str, float]]] = {"native": [], "plain": []}
    for _ in range(rounds):
        for name, switch in (("native", "1"), ("plain", "0")):
            done = subprocess.run(
                [sys.executable, __file__, "--worker", model],
                env=os.environ | {"SHOESTRING_NATIVE": switch}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            turns[name].append(json.loads(done.stdout))
    best = {name: {k: max(t[k] for t in rows) for k in rows[0]} for name, rows in turns.items()}
    return {
        k: {n: best[n][k] for n in best} | {"ratio": best["native"][k] / best["plain"][k]}
        for k in best["plain"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--worker", metavar="MODEL", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        print(json.dumps(whole(chosen.worker)))
        return
    found = find_library()
    if not isinstance(found, Library):
        sys.exit(f"no native kernels here: {found.reason}")
    keep_freed_memory()
    torch.manual_seed(0)
    table = Table("kernel", "native ms", "plain ms", "times faster")
    results = {}
    for name, (native, plain) in pairs().items():
        results[name] = measure(native, plain, chosen.rounds)
        r = results[name]
        table.add_row(name, f"{r['native_ms']:.2f}", f"{r['plain_ms']:.2f}", f"{r['ratio']:.1f}")
    Console().print(table)
    report = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], "kernels": results}
    if chosen.whole:
        report["whole"] = whole_in_turns(chosen.model, 2)
        for name, r in report["whole"].items():
            print(f"{name}: native {r['native']:.0f}, plain {r['plain']:.0f}, {r['ratio']:.2f} times")
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
