"""vLLM in this process, asked as our own engine is: requests, steps, completions, aborts, weights in place.

For equal keys its tokens are others than ours, for it draws with numbers of its own. Its logprobs are of its
kernels, and of the distribution that it sampled from, as ours are.
"""

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
from shoestring.cluster.vllm_words import (
    INSTALL,
    engine_words,
    quiet_words,
    refuse,
    refuse_model,
    sample_words,
    untied,
    write_shape,
)
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.errors import BadInput


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
        refuse_model(how.skeleton.config)
        self.skeleton = how.skeleton
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
        words = engine_words(how.skeleton, how.max_batch, how.cache_gib)
        given = arguments(model=self._folder.name, skip_tokenizer_init=True, **words)
        return importlib.import_module("vllm.v1.engine.llm_engine").LLMEngine.from_engine_args(given)

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        """Raises BadInput for what vLLM can't be asked through here."""
        refuse(prompt, params, self.skeleton.config)
        self._next += 1
        kind = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        for sample in range(params.n):
            words = sample_words(prompt, params, key, sample, self.skeleton)
            asked = self._vllm.SamplingParams(**words, output_kind=kind)
            tokens = importlib.import_module("vllm.inputs").TokensPrompt(prompt_token_ids=list(prompt))
            self._engine.add_request(f"{self._next}/{sample}", tokens, asked)
        self._asked[self._next] = params, {}
        return self._next

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
        given = untied(weights, self.skeleton.config)
        known = {"weights_iterator": iter(given.items()), "is_checkpoint_format": True}
        self._engine.collective_rpc("reload_weights", kwargs=known)
        self._engine.reset_prefix_cache()
        self.weights_version = version


def the_vllm() -> Any:
    """Imported when it is asked for. Raises BadInput where it is missing."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} | quiet_words()  # its engine in this process
    if not torch.cuda.is_available():  # what compiling saves is less than the minutes that it takes
        setattr(importlib.import_module("torch._dynamo.config"), "disable", True)  # noqa: B010
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise BadInput(f"--workers engine=vllm: {error}; {INSTALL}") from None
