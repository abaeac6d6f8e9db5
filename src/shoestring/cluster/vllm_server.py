"""vLLM's own server as an engine: a process beside this one, in an environment of its own if need be, asked
in token ids over a socket that only this user can open.

It is the same to the caller as `vllm_engine`: logprobs are of the distribution that was sampled from, and
equal requests have equal seeds. Weights go by a file on this machine and are taken in place; the server is
told their version then, and says it with every sample."""

import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from shoestring.cluster.kept import Kept
from shoestring.cluster.skeleton import Skeleton
from shoestring.cluster.vllm_line import Line
from shoestring.cluster.vllm_words import (
    HEAD,
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
from shoestring.errors import BadInput, ShoestringError
from shoestring.run import saving

START_S = 280.0  # a little less than an actor may take to start
STEP_S = 0.2  # that a step waits for a sample to be done
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class VLLMServer:
    """How it is started where it is to run. python: that has vLLM; None: this one. deadline_s: that it may be
    silent, and counts as lost."""

    skeleton: Skeleton
    max_batch: int
    cache_gib: float | None
    python: Path | None
    deadline_s: float

    def make(self) -> "ServedEngine":
        return ServedEngine(self)

    def holds(self, engine: Any) -> None:
        """It keeps weights in an order of its own, so only what came is compared, not what is there."""
        return


class ServedEngine:
    """Raises WorkerLost from any call where the server is gone: it is then started anew with its actor."""

    def __init__(self, how: VLLMServer) -> None:
        refuse_model(how.skeleton.config)
        self.skeleton = how.skeleton
        self.weights_version = 0
        python = str(how.python or sys.executable)
        if shutil.which(python) is None:
            raise BadInput(f"--workers engine=vllm-server: no program {python}; {INSTALL}")
        self._folder = tempfile.TemporaryDirectory(prefix="sv-")  # short: a socket's name may have 107 bytes
        self._at = Path(self._folder.name)
        self._model = self._at / "model"
        self._model.mkdir()
        write_shape(how.skeleton, self._model)
        self._server = Kept(self._command(how, python), _environment(), self._at / "log")
        self._line = Line(self._at / "s", self._server, how.deadline_s)
        self._pool = ThreadPoolExecutor(how.max_batch, "sample")
        self._next = 0
        self._asked: dict[int, list[Future[Completion]]] = {}
        self._finished: deque[tuple[int, list[Completion]]] = deque()
        try:
            self._line.wait_until_up(START_S)
            self._rpc("update_config", overrides={"load_config": {"load_format": "auto"}})  # from now on
        except ShoestringError as error:
            self.close()
            if "No module named 'vllm" in str(error):
                raise BadInput(f"--workers engine=vllm-server: {error}; {INSTALL}") from None
            raise

    def _command(self, how: VLLMServer, python: str) -> list[str]:
        command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model)]
        command += ["--uds", str(self._at / "s"), "--enable-scale-out"]
        command += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
        for name, value in engine_words(how.skeleton, how.max_batch, how.cache_gib).items():
            flag = "--" + name.replace("_", "-")
            command += [flag] * bool(value) if isinstance(value, bool) else [flag, str(value)]
        return command

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        """Raises BadInput for what vLLM can't be asked through here."""
        refuse(prompt, params, self.skeleton.config)
        self._next += 1
        told = [(self._next, i, list(prompt), params, key) for i in range(params.n)]
        self._asked[self._next] = [self._pool.submit(self._sample, *one) for one in told]
        return self._next

    def step(self) -> None:
        """Wait a little for any sample, and gather those that are done."""
        samples = [one for asked in self._asked.values() for one in asked if not one.done()]
        if samples and not wait(samples, STEP_S, FIRST_COMPLETED).done:
            self._line.knock()
        for number, asked in list(self._asked.items()):
            if all(one.done() for one in asked):
                del self._asked[number]
                self._finished.append((number, [one.result() for one in asked]))

    def take_finished(self) -> list[tuple[int, list[Completion]]]:
        taken = list(self._finished)
        self._finished.clear()
        return taken

    def abort(self, request: int) -> None:
        asked = self._asked.pop(request, None)
        if asked is None:
            return
        begun = {i: one for i, one in enumerate(asked) if not one.cancel()}
        while begun := {i: one for i, one in begun.items() if not one.done()}:
            names = [f"generate-tokens-{_name(request, i)}" for i in begun]
            self._line.post("/inference/v1/abort_requests", {"request_ids": names})
            wait(begun.values(), STEP_S)  # one that hadn't reached the server yet is told again

    @property
    def idle(self) -> bool:
        return not self._asked

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """In place. Raises ShoestringError where the server doesn't say that it has this version then."""
        path = self._model / WEIGHTS
        given = untied(weights, self.skeleton.config)
        if self.skeleton.config.tie_word_embeddings:
            given[HEAD] = given[HEAD].clone()  # a file holds nothing twice
        with saving(path):
            save_file(given, path)
        self._rpc("reload_weights", weights_path=str(self._model), is_checkpoint_format=True)
        path.unlink()  # it has read them
        if not self._line.post("/reset_prefix_cache", {})["success"]:
            raise ShoestringError("vLLM's server kept what older weights had left in its cache")
        self._line.post("/update_weight_version", {"new_version": str(version)})
        has = self._line.get("/weight_info")["weight_version"]
        if has != str(version):
            raise ShoestringError(f"vLLM's server says it has the weights of version {has}, not {version}")
        self.weights_version = version

    def close(self) -> None:
        self._server.close()
        self._pool.shutdown()
        self._folder.cleanup()

    def _sample(
        self, number: int, sample: int, prompt: list[int], params: SamplingParams, key: str
    ) -> Completion:
        words = sample_words(prompt, params, key, sample, self.skeleton)
        words = {name: value for name, value in words.items() if value is not None}
        body = {"request_id": _name(number, sample), "token_ids": prompt, "sampling_params": words}
        answer = self._line.sample(body)
        (made,) = answer["choices"]
        versions = {span["version"] for span in made["weight_versions"] or []}
        if versions != {str(self.weights_version)}:
            raise ShoestringError(
                f"vLLM's server made a sample with the weights of version {', '.join(sorted(versions))}, "
                f"not {self.weights_version}"
            )
        reason = FinishReason.STOP if made["finish_reason"] == "stop" else FinishReason.LENGTH
        logprobs = [place["logprob"] for place in made["logprobs"]["content"]]
        details = answer["usage"].get("prompt_tokens_details") or {}
        return Completion(
            made["token_ids"],
            logprobs,
            params.logprob_meaning,
            reason,
            self.weights_version,
            cached_tokens=details.get("cached_tokens") or 0,
        )

    def _rpc(self, method: str, **kwargs: Any) -> None:
        self._line.post("/collective_rpc", {"method": method, "kwargs": kwargs})


def _environment() -> dict[str, str]:
    own = {"VLLM_SERVER_DEV_MODE": "1"}  # which opens the routes that take weights
    if not torch.cuda.is_available():
        # nothing is compiled; servers of one machine may all use all its cores
        own |= {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {**os.environ, **quiet_words(), **own}


def _name(number: int, sample: int) -> str:
    return f"{number}-{sample}"
