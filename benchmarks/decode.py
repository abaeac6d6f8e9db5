"""Tokens a second with one stream and with many, beside llama.cpp, OpenVINO GenAI and vLLM's CPU build.

Greedy, distinct prompts, new ones in every round, every completion exactly --max-tokens long. Compared at
equal bits a weight: 16 (bf16), 8 (one Q8_0 file for all), 4 (one file of 4-bit blocks for all). First each
contender's greedy tokens are held against the same weights in float32.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
from contenders import OURS, Contender, Running, interleave, running
from rollouts import first_gaps, make_prompts

from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel, load
from shoestring.models.bases import BASES
from shoestring.models.presets import PRESETS, preset_config
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.release.gguf_write import write_gguf
from shoestring.run.environment import usable_cores

OUR, LLAMA, OPENVINO, VLLM = "shoestring", "llama.cpp", "OpenVINO", "vLLM CPU"
# one stream alone looks drafts up in its own text, which no peer here does
AS_IT_COMES = "shoestring, drafts"
PEERS = (LLAMA, OPENVINO, VLLM)
CACHE_GIB = 1.0
WRONG_GAP = 1.0  # between the two best in float32, where a contender's rounding can't be why it took another


def main() -> None:
    args = parse()
    described = common.machine()
    lm = load(args.model, dtype="float32")
    if args.preset:
        lm = with_random_weights(lm, args.preset)
    with tempfile.TemporaryDirectory() as name:
        files = write_models(lm, args, Path(name))
        results = {f"{bits} bits": at_bits(bits, lm, files, args) for bits in args.bits}
    common.report("decode", args, described, results)


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=5)
    parser.add_argument("--vllm", type=Path, default=Path(".venv-vllm"), help="where vLLM's CPU build lies")
    parser.add_argument("--openvino", type=Path, default=Path(".venv-openvino"), help="where OpenVINO lies")
    parser.add_argument("--llama", type=Path, default=Path(".venv-llama"), help="where llama.cpp lies")
    parser.add_argument("--preset", choices=[*PRESETS], help="with random weights, in the model's place")
    parser.add_argument("--bits", type=int, nargs="+", default=[16, 8, 4], choices=[16, 8, 4])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64, 128])
    parser.add_argument("--skip", nargs="+", default=[], choices=PEERS)
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--long-prompt", type=int, default=500, help="whose first token is waited for")
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--beside", type=int, default=0, help="busy programs that run meanwhile")
    return parser.parse_args()


def with_random_weights(lm: LanguageModel, preset: str) -> LanguageModel:
    """A preset with the vocabulary of `lm`, and without an MTP module: peers leave it out, and what it drafts
    with random weights is never right."""
    told = {"vocab_size": lm.config.vocab_size, "eos_token_id": lm.config.eos_token_id}
    config = preset_config(preset, num_nextn_predict_layers=0, **told)
    network = Transformer(config)
    network.init_weights(0)
    return LanguageModel(network, lm.tokenizer, lm.template, config, Lineage(()), preset)


def write_models(lm: LanguageModel, args: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The same weights in every form that somebody reads."""
    lm.save(folder / "model")
    files = {"folder": str(folder / "model")}
    for kind in ("bf16", "f16", "q8_0", "q4_0"):
        wanted = {"bf16": 16, "f16": 16, "q8_0": 8, "q4_0": 4}[kind]
        if wanted in args.bits:
            files[kind] = str(folder / f"{kind}.gguf")
            write_gguf(lm, Path(files[kind]), kind)
    if args.model in BASES and not args.preset:  # came in 4 bits: those are the ones it was made for
        files["q4_0"] = str(BASES[args.model].path)
    return files


def contenders(bits: int, files: dict[str, str], args: argparse.Namespace, warmup: Any) -> list[Contender]:
    threads = int(os.environ.get("OMP_NUM_THREADS", usable_cores()))
    spec = {"warmup": warmup, "cache_gib": CACHE_GIB, "max_batch": max(args.streams), "threads": threads}
    ours = {"model": files["folder"], "dtype": "bfloat16", "quantize": None, "draft_tokens": 0}
    gguf, ov = files.get("bf16", ""), files.get("f16", "")
    if bits < 16:
        gguf = ov = files["q8_0" if bits == 8 else "q4_0"]
        ours |= {"model": gguf, "quantize": "file"}
    found = [Contender(OUR, OURS, "ours_decode.py", spec | ours, kit="")]
    if 1 in args.streams:
        drafting = spec | ours | {"draft_tokens": None}
        found.append(Contender(AS_IT_COMES, OURS, "ours_decode.py", drafting, kit=""))
    if LLAMA not in args.skip:
        python = common.python_of(args.llama)
        binaries = llama_binaries(args.llama)
        own = {"model": gguf, "binaries": str(binaries)}
        env = {"LD_LIBRARY_PATH": str(binaries)}
        found.append(Contender(LLAMA, python, "llama_decode.py", spec | own, kit="llama", env=env))
    if OPENVINO not in args.skip:
        python = common.python_of(args.openvino)
        own = {"model": ov, "properties": {"INFERENCE_NUM_THREADS": threads}}
        found.append(Contender(OPENVINO, python, "openvino_decode.py", spec | own, kit="openvino"))
    if VLLM not in args.skip and bits == 16:
        window = max(args.long_prompt, args.prompt_tokens) + args.max_tokens + 64
        own = {
            "folder": files["folder"],
            "dtype": "bfloat16",
            "block_size": 32,
            "window": window,
            "eager": False,
        }
        env = {
            "VLLM_CPU_KVCACHE_SPACE": "2",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(threads),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
        }
        python = common.python_of(args.vllm)
        found.append(Contender(VLLM, python, "vllm_generate.py", spec | own, kit="vllm", env=env))
    return found


def llama_binaries(folder: Path) -> Path:
    found = sorted(folder.absolute().rglob("llama-batched-bench"))
    if not found:
        raise BadInput(f"no llama-batched-bench in {folder}; bash benchmarks/install_peers.sh llama")
    return found[0].parent


def at_bits(bits: int, lm: LanguageModel, files: dict[str, str], args: argparse.Namespace) -> dict[str, Any]:
    prompts = make_prompts(lm, max(args.streams), args.prompt_tokens, args.seed)
    exact = {"model": files["folder"] if bits == 16 else files["q8_0" if bits == 8 else "q4_0"]}
    exact |= {"dtype": "float32", "quantize": None, "cache_gib": CACHE_GIB, "warmup": prompts[:1]}
    float32 = Contender(f"float32 {bits}", OURS, "ours_decode.py", exact, kit="")
    with (
        running([float32]) as (judge,),
        running(contenders(bits, files, args, prompts[:2])) as found,
    ):
        checks = check_tokens(judge, found, prompts[:8])
        judge.close()
        with busy(args.beside):
            scenes = [scene(found, lm, count, args.prompt_tokens, args) for count in args.streams]
            scenes.append(scene(found, lm, 1, args.long_prompt, args))
        return {"checks": checks, "contenders": common.facts(found), "scenes": scenes}


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many programs that do nothing but that."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def ask(prompts: Sequence[Sequence[int]], tokens: int, want_ids: bool) -> dict[str, Any]:
    same = {"n": 1, "temperature": 0.0, "seed": 0}
    return {"prompts": prompts, "max_tokens": tokens, "want_ids": want_ids, **same}


def check_tokens(judge: Running, found: Sequence[Running], prompts: list[list[int]]) -> dict[str, Any]:
    """Where greedy tokens leave float32's, and how near a tie that was. Raises ShoestringError where it was
    none."""
    reference, checks = judge.take_turn(ask(prompts, 32, True))["ids"], {}
    for one in found:
        made = one.take_turn(ask(prompts, 32, True))["ids"]
        gaps = first_gaps(judge, prompts, reference, made)
        checks[one.name] = {"completions": len(prompts), "parted": len(gaps), "gaps": gaps}
        most = max(gaps, default=0.0)
        print(f"{one.name}: {len(gaps)} of {len(prompts)} leave float32's tokens, largest gap {most:.3f}")
        if most > WRONG_GAP:
            raise ShoestringError(f"{one.name} makes other tokens than these weights do: gaps {gaps}")
    return checks


def scene(
    found: Sequence[Running], lm: LanguageModel, count: int, tokens: int, args: argparse.Namespace
) -> dict[str, Any]:
    """So many streams at once. whole: all tokens made over all of the time, prompts included. decode: what
    follows the first tokens, where a contender tells when that was."""
    found = [one for one in found if count == 1 or one.name != AS_IT_COMES]

    def request(_: str, number: int) -> dict[str, Any]:
        prompts = make_prompts(lm, count, tokens, args.seed + 1000 * (number + 1) + count)
        return ask([ids[:tokens] for ids in prompts], args.max_tokens, False)

    interleave(found, 1, lambda name, _: request(name, -1))  # warms up at this size
    rounds = interleave(found, args.rounds, request)
    names, result = [one.name for one in found], dict[str, Any](streams=count, prompt_tokens=tokens)
    whole = {name: common.series(rounds, name, "tokens", "seconds") for name in names}
    first = {n: common.series(rounds, n, "first") for n in names if "first" in rounds[0][n]}
    decode = {
        n: [count * (args.max_tokens - 1) / (r[n]["seconds"] - r[n]["first"]) for r in rounds] for n in first
    }
    if LLAMA in decode:  # its time of making has all tokens in it
        decode[LLAMA] = [s * args.max_tokens / (args.max_tokens - 1) for s in decode[LLAMA]]
    kinds = {"whole": whole, "decode": decode, "first": first}
    rows: list[tuple[str, ...]] = []
    for kind, by_name in kinds.items():
        result[kind] = {name: common.spread(values) for name, values in by_name.items()}
        result[f"ours_over_{kind}"] = {
            name: common.ratios(by_name[OUR], values) for name, values in by_name.items() if name != OUR
        }
        for name, values in result[kind].items():
            over = result[f"ours_over_{kind}"].get(name)
            unit = "s to all first tokens" if kind == "first" else f"tokens/s, {kind}"
            shown = common.in_words(values, 3 if kind == "first" else 0)
            rows.append((name, unit, shown, common.in_words(over, 2) if over else ""))
    title = f"{count} streams, prompts of {tokens} tokens, {args.max_tokens} new"
    common.show(title, ("", "what", "median (min-max)", "ours over it"), rows)
    return result


if __name__ == "__main__":
    common.start(main)
