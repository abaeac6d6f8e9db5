"""The local Generator: schedule, run, collect. Continuous batching over one network in this process."""

import dataclasses
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from shoestring.engine.draft import DraftCount
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.engine.runner import Runner
from shoestring.engine.scheduler import Admission, Request, Scheduler
from shoestring.engine.scheduler import Sequence as Running
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel
from shoestring.ops.memory import ran_out


class Engine:
    """Generates with `lm`'s own network (not a copy: weights loaded here are the lm's).

    max_batch: sequences that run at once. 256 of a 135M model in bf16 need about 23 KB a token each.
    draft_tokens: how many tokens to draft ahead with the model's MTP module where it has one, 0 for none;
    None: one, while so few sequences run that it pays. The tokens are the same either way.
    """

    def __init__(
        self,
        lm: LanguageModel,
        max_batch: int = 256,
        max_prefill_tokens: int = 4096,
        draft_tokens: int | None = None,
    ) -> None:
        self.lm = lm
        self.runner = Runner(lm.network, draft_tokens)
        self.scheduler = Scheduler(max_batch, max_prefill_tokens)
        self.weights_version = 0
        self._next_id = 0
        self._requests: dict[int, Request] = {}  # that the caller hasn't got back yet
        self._finished: deque[Request] = deque()

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        """Queue a prompt. Raises BadInput where it fills the context window, with both numbers."""
        window = self.lm.config.max_position_embeddings
        if not prompt:
            raise BadInput("the prompt is empty; give at least one token")
        if len(prompt) >= window:
            raise BadInput(f"the prompt has {len(prompt)} tokens and the model's window is {window}")
        words = self.lm.config.vocab_size
        if unknown := [token for token, _ in params.logit_bias if token >= words]:
            raise BadInput(f"logit_bias: token {unknown[0]}, and the model's ids end at {words - 1}")
        if params.ignore_eos:
            stop_ids: frozenset[int] = frozenset()
        elif params.stop_token_ids is not None:
            stop_ids = frozenset(params.stop_token_ids)
        else:
            stop_ids = frozenset(self.lm.template.stop_ids)
        limit = min(params.max_tokens, window - len(prompt))
        self._next_id += 1
        request = Request(self._next_id, list(prompt), params, key, stop_ids, limit)
        self._requests[request.id] = request
        self.scheduler.waiting.append(request)
        return request.id

    def step(self) -> None:
        """Admit what fits, else make one token for every running sequence. Raises ShoestringError, one line,
        where the memory is full."""
        admissions = self.scheduler.admit()
        try:
            if admissions:
                self.runner.prefill(admissions)
                self.scheduler.running += [s for a in admissions for s in a.sequences]
            elif self.scheduler.running:
                self.runner.decode(self.scheduler.running)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            raise ShoestringError(self._why_full(admissions)) from None
        self._collect()

    def completed(self) -> Iterator[tuple[int, list[Completion]]]:
        while self._finished or self.scheduler.waiting or self.scheduler.running:
            while self._finished:
                request = self._finished.popleft()
                self._requests.pop(request.id)
                yield request.id, request.completions
            self.step()

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, keys: Sequence[str] | None = None
    ) -> list[list[Completion]]:
        names = keys if keys is not None else [str(i) for i in range(len(prompts))]
        asked: list[Request] = []
        try:
            for prompt, key in zip(prompts, names, strict=True):
                asked.append(self._requests[self.submit(prompt, params, key)])
            while not all(request.finished for request in asked):
                self.step()
            return [request.completions for request in asked]
        finally:  # after a refused prompt or Ctrl-C nothing of it runs on; what others asked for stays
            for request in asked:
                self.abort(request.id)

    def stream(
        self, prompt: Sequence[int], params: SamplingParams, key: str = ""
    ) -> Generator[int, None, None]:
        """One sample's token ids as they are made; closing the iterator aborts it."""
        number = self.submit(prompt, dataclasses.replace(params, n=1), key)
        request = self._requests[number]
        shown = 0
        try:
            while not request.finished:
                self.step()
                ids = request.done[0].ids if request.finished else self._running(request)
                yield from ids[shown:]
                shown = len(ids)
        finally:
            self.abort(number)

    def abort(self, request: int) -> None:
        """Drop a request and free its slots; `completed` won't give it. Unknown ids are ignored."""
        found = self._requests.pop(request, None)
        if found is None:
            return
        if found in self._finished:
            self._finished.remove(found)
        if found in self.scheduler.waiting:
            self.scheduler.waiting.remove(found)
        running = self.scheduler.running
        slots = [slot for slot in reversed(range(len(running))) if running[slot].request is found]
        self._remove(dict.fromkeys(slots, FinishReason.ABORT))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take weights by public name; a view of the same memory costs nothing. Raises BadInput on a name or
        shape that the network hasn't, or lacks, and takes none then. Sequences that run go on with them."""
        self.lm.refuse_quantized("give new weights to")
        given, own = dict(weights), dict(self.lm.network.public_tensors())
        for name, tensor in given.items():
            if name not in own:
                raise BadInput(f"weights for '{name}', a tensor that this model doesn't have")
            if tensor.shape != own[name].shape:
                raise BadInput(
                    f"weights for '{name}' are {tuple(tensor.shape)}, should be {tuple(own[name].shape)}"
                )
        if missing := [name for name in own if name not in given]:
            raise BadInput(f"weights lack {len(missing)} tensors, the first is '{missing[0]}'")
        with torch.no_grad():
            for name, tensor in given.items():
                if own[name].data_ptr() != tensor.data_ptr():
                    own[name].copy_(tensor)
            self.lm.network.renew_copies()
        self.weights_version = version

    @property
    def drafts(self) -> DraftCount | None:
        """What the MTP module drafted so far and how much of it was kept; None where nothing can draft."""
        return self.runner.drafts

    def _why_full(self, admissions: Sequence[Admission]) -> str:
        running, joining = len(self.scheduler.running), sum(len(a.sequences) for a in admissions)
        read = sum(len(a.request.prompt) for a in admissions)
        requests = [s.request for s in self.scheduler.running] + [a.request for a in admissions]
        limit = max(request.limit for request in requests)
        return (
            f"out of memory while generating: {running} sequences ran, {joining} were joining with {read:,} "
            f"tokens of prompts, each to make at most {limit:,} tokens; lower max_batch (it is "
            f"{self.scheduler.max_batch}) or max_completion_tokens"
        )

    def _collect(self) -> None:
        """Close sequences that stopped or reached their limit, last slot first so that gaps fill from the
        end."""
        done: dict[int, FinishReason] = {}
        for slot in reversed(range(len(self.scheduler.running))):
            reason = self.scheduler.running[slot].ending
            if reason is not None:
                done[slot] = reason
        self._finished += [request for request in self._remove(done) if request.finished]

    def _remove(self, slots: Mapping[int, FinishReason]) -> list[Request]:
        """Close what runs in these slots, given falling; the requests concerned."""
        requests: dict[int, Request] = {}
        for slot, reason in slots.items():
            sequence = self.scheduler.running[slot]
            sequence.request.close(sequence, reason, self.weights_version)
            requests[sequence.request.id] = sequence.request
            self.scheduler.remove(slot)
        if slots:
            self.runner.remove(list(slots))
        return list(requests.values())

    def _running(self, request: Request) -> list[int]:
        found: list[Running] = [s for s in self.scheduler.running if s.request is request]
        return found[0].ids if found else []
