"""What a score rests on, so that somebody else can tell whether theirs should be the same. docs/evaluation.md
has the JSON; `VERSION` is raised when a field changes its meaning.

Hashes are SHA-256. The tokens' is of every reply's ids in order: two greedy evaluations with the same
settings, prompts, weights, dtype and kernels have the same one, or their receipts say in what they differ.
"""

import dataclasses
import hashlib
import platform
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from shoestring.errors import BadInput
from shoestring.evals.item import Item
from shoestring.lm import LanguageModel, weights_sha256
from shoestring.ops.native import Absent, find_library
from shoestring.run.environment import cpu_model, package_version
from shoestring.tasks.base import Outcome

VERSION = 1
MADE_BY = ("shoestring", "torch", "tokenizers", "jinja2")
SCORED_BY = ("shoestring", "math-verify", "reasoning-gym")


@dataclass(frozen=True)
class Made:
    """What turned prompts into tokens. None is what a server doesn't tell; its `engine` is its address."""

    model: str
    weights: str | None  # hash of all tensors as loaded, written in float32; "" where they are quantised
    quantized: str | None
    tokenizer: str | None
    template: str | None  # hash of its text
    opens_thinking: bool | None  # whether the prompt ends with an open <think>
    window: int | None
    stop_ids: tuple[int, ...] | None
    engine: str
    dtype: str | None
    device: str | None
    kernels: str | None
    threads: int | None
    packages: Mapping[str, str]
    processor: str | None
    python: str | None


@dataclass(frozen=True)
class Receipt:
    """asking: every setting of `Asking` by name. problems: hash of which problems with which right answers.
    correct, replies: of those that are scored. prompts and tokens are None of a server's, whose ids nobody
    here knows."""

    version: int
    suite: str
    n: int
    k: int
    seed: int
    asking: Mapping[str, Any]
    problems: str
    prompts: str | None  # hash of the exact ids that the model read, in order
    made: Made
    tokens: str | None
    scorer: Mapping[str, str]
    verdicts: str  # hash of each reply's outcome
    correct: int
    replies: int

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        stops = self.made.stop_ids
        values["made"]["stop_ids"] = None if stops is None else list(stops)
        return values

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Receipt":
        """From its `to_json`. Raises BadInput where it is of another version or not whole."""
        if raw.get("version") != VERSION:
            raise BadInput(f"a receipt of version {raw.get('version')}; this program reads version {VERSION}")
        try:
            stops = raw["made"]["stop_ids"]
            made = Made(**{**raw["made"], "stop_ids": None if stops is None else tuple(stops)})
            return cls(**{**raw, "made": made})
        except (KeyError, TypeError) as error:
            raise BadInput(f"not a receipt: {error}") from None


def made_by(lm: LanguageModel) -> Made:
    """Of a model as it is loaded, for our own engine. Takes a second for each GB of weights in float32."""
    native = find_library()
    kernels = (
        f"none ({native.reason})" if isinstance(native, Absent) else f"native, int8 by {native.coded_kind}"
    )
    return Made(
        model=lm.name,
        weights="" if lm.network.is_quantized else weights_sha256(lm),
        quantized=lm.quantized,
        tokenizer=lm.tokenizer.fingerprint,
        template=hashlib.sha256((lm.template.source or "").encode()).hexdigest(),
        opens_thinking=lm.template.opens_thinking,
        window=lm.config.max_position_embeddings,
        stop_ids=tuple(lm.template.stop_ids),
        engine="shoestring",
        dtype=str(lm.dtype).removeprefix("torch."),
        device=lm.device.type,
        kernels=f"{kernels}, {torch.backends.cpu.get_cpu_capability()}"
        if lm.device.type == "cpu"
        else "torch",
        threads=torch.get_num_threads(),
        packages=_versions(MADE_BY),
        processor=torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else cpu_model(),
        python=platform.python_version(),
    )


def made_there(model: str, where: str) -> Made:
    """By a model behind an endpoint."""
    untold = dict.fromkeys(field.name for field in dataclasses.fields(Made))
    return Made(**{**untold, "model": model, "engine": where, "packages": _versions(("shoestring",))})


def make_receipt(
    suite: str, k: int, seed: int, asking: Mapping[str, Any], made: Made, items: Sequence[Item]
) -> Receipt:
    scored = [item for item in items if item.outcome != Outcome.OPEN]
    return Receipt(
        version=VERSION,
        suite=suite,
        n=len(scored) // k,
        k=k,
        seed=seed,
        asking=dict(asking),
        problems=problems_hash(items),
        prompts=_prompts_hash(items),
        made=made,
        tokens=tokens_hash(items),
        scorer=_versions(SCORED_BY),
        verdicts=_hash(f"{item.problem}/{item.sample}:{item.outcome}" for item in items),
        correct=sum(item.outcome == Outcome.RIGHT for item in scored),
        replies=len(scored),
    )


def check(raw: Mapping[str, Any], items: Sequence[Item]) -> list[str]:
    """What of a receipt doesn't hold for the replies kept with it, in words; [] where all does. Raises
    BadInput where it can't be read."""
    receipt = Receipt.of(raw)
    again = make_receipt(receipt.suite, max(receipt.k, 1), receipt.seed, receipt.asking, receipt.made, items)
    told = {
        "replies": "the number of replies is",
        "n": "the number of problems is",
        "problems": "the problems or their right answers are",
        "prompts": "the prompts are",
        "tokens": "the tokens of the replies are",
        "verdicts": "the verdicts are",
        "correct": "the number of right replies is",
    }
    faults = [
        f"{words} not what the receipt says"
        for name, words in told.items()
        if vars(again)[name] != vars(receipt)[name]
    ]
    if len({(item.problem, item.sample) for item in items}) < len(items):
        faults.append("a reply stands twice")
    return faults


def problems_hash(items: Sequence[Item]) -> str:
    return _hash(f"{item.problem}:{item.gold}" for item in items if item.sample == 0)


def _prompts_hash(items: Sequence[Item]) -> str | None:
    if not all(item.prompt_sha256 for item in items):
        return None
    return _hash(f"{item.problem}:{item.prompt_sha256}" for item in items if item.sample == 0)


def tokens_hash(items: Sequence[Item]) -> str | None:
    """None where the ids aren't known."""
    if not any(item.ids for item in items):
        return None
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.problem}/{item.sample}:".encode())
        digest.update(array("q", item.ids).tobytes())
    return digest.hexdigest()


def ids_hash(ids: Sequence[int]) -> str:
    return hashlib.sha256(array("q", ids).tobytes()).hexdigest()


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _versions(names: Iterable[str]) -> dict[str, str]:
    return {name: found for name in names if (found := package_version(name))}
