"""The local Generator: schedule, run, collect. Continuous batching over one network in this process."""

import dataclasses
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from shoestring.engine.blocks import BlockPool, blocks_for
from shoestring.engine.draft import DraftCount
from shoestring.engine.refusals import all_finite, refuse_prompt, refuse_weights, too_small_a_cache, why_full
from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.engine.runner import Runner
from shoestring.engine.scheduler import Scheduler, Step
from shoestring.engine.sequence import Request
from shoestring.engine.sequence import Sequence as Running
from shoestring.engine.usage import EngineUsage, Made
from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel
from shoestring.ops.memory import free_bytes, ran_out
from shoestring.ops.paged import SPAN

FREE_SHARE = 0.5  # of the free memory that the cache may take unless it is told


class Engine:
    """Generates with `lm`'s own network (not a copy: weights loaded here are the lm's).

    max_batch: sequences that run at once. 256 of a 135M model in bf16 need about 23 KB a token each.
    max_prefill_tokens: tokens of prompts that one step reads. chunk_tokens: so many at most while sequences
    run, which all make a token in that step too; None: prompts are read first, and all completions are done
    sooner. prefix_cache: blocks that no sequence holds any more are kept, as long as there is room, for
    prompts that begin like one before. cache_gib: memory for keys and values, or latents; None: half of what
    is free when the first request comes.
    draft_tokens: how many tokens to draft ahead, with the model's MTP module where it has one, else from what
    stood in the text before; 0 for none; None: from the text before, where that pays. The tokens are the same
    either way.
    """

    def __init__(
        self,
        lm: LanguageModel,
        max_batch: int = 256,
        max_prefill_tokens: int = 4096,
        draft_tokens: int | None = None,
        chunk_tokens: int | None = None,
        prefix_cache: bool = False,
        cache_gib: float | None = None,
    ) -> None:
        self.lm, self.cache_gib = lm, cache_gib
        self.pool = BlockPool(keeps=prefix_cache)
        self.runner = Runner(lm.network, self.pool, draft_tokens)
        self.scheduler = Scheduler(max_batch, max_prefill_tokens, chunk_tokens, self.pool)
        self.weights_version = 0
        self._next_id = 0
        self._requests: dict[int, Request] = {}  # that the caller hasn't got back yet
        self._finished: deque[Request] = deque()

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        """Queue a prompt. Raises BadInput where it fills the context window, or the cache, with both
        numbers."""
        refuse_prompt(prompt, params, self.lm.config)
        if params.ignore_eos:
            stop_ids: frozenset[int] = frozenset()
        elif params.stop_token_ids is not None:
            stop_ids = frozenset(params.stop_token_ids)
        else:
            stop_ids = frozenset(self.lm.template.stop_ids)
        limit = min(params.max_tokens, self.lm.config.max_position_embeddings - len(prompt))
        self._limit_cache(len(prompt), limit)
        self._next_id += 1
        request = Request(self._next_id, list(prompt), params, key, stop_ids, limit)
        self._requests[request.id] = request
        self.scheduler.waiting.append(request)
        return request.id

    def _limit_cache(self, prompt: int, limit: int) -> None:
        """How many blocks there may be, and whether one sample of a request fits them."""
        if self.scheduler.idle and not self.pool.numbered:
            store = self.runner.cache.store
            free = (free_bytes(self.runner.device) + store.blocks * store.block_bytes) * FREE_SHARE
            room = free if self.cache_gib is None else self.cache_gib * 2**30
            self.pool.limit = int(room // store.block_bytes)
        needed = blocks_for(prompt + limit + self.runner.drafting.ahead)
        if needed <= self.pool.limit:
            return
        if self.cache_gib is not None:
            raise too_small_a_cache(prompt, limit, self.pool.limit, self.cache_gib)
        self.pool.limit = needed  # few requests make all they may: when memory is full, that is said

    def step(self) -> None:
        """Make a token for every running sequence, and read of prompts what fits (the class says when both).
        Raises ShoestringError, one line, where the memory is full."""
        scheduler, runner = self.scheduler, self.runner
        step = scheduler.next_step(runner.drafting.ahead, runner.drafting.drafts is not None)
        try:
            self._run(step)
        except BaseException as error:
            # blocks that were to be read may have been found by others already
            scheduler.read_again()
            self.pool.forget(str(self.weights_version))
            runner.drafting.drafter = None
            if isinstance(error, RuntimeError | MemoryError) and ran_out(error):
                raise ShoestringError(why_full(scheduler, step)) from None
            raise
        self._collect()

    def _run(self, step: Step) -> None:
        scheduler, runner = self.scheduler, self.runner
        if step.left:
            runner.remove(step.left)
        runner.prepare(len(scheduler.running), scheduler.readings, step.copies)
        if step.decode:
            runner.decode(scheduler.running)
        if step.pieces:
            for reading in runner.read(step.pieces):
                scheduler.join(reading)

    def completed(self) -> Iterator[tuple[int, list[Completion]]]:
        while self._finished or not self.scheduler.idle:
            while self._finished:
                request = self._finished.popleft()
                self._requests.pop(request.id)
                yield request.id, all_finite(request.completions)
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
            return [all_finite(request.completions) for request in asked]
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
                (made,) = self.progress(number)
                yield from made.ids[shown:]
                shown = len(made.ids)
        finally:
            self.abort(number)

    def progress(self, request: int) -> list[Made]:
        """What each of a request's samples has made so far; its lists are not to be changed. Empty for an id
        that is unknown, or that `completed` has given."""
        found = self._requests.get(request)
        if found is None:
            return []
        return _made(found, [s for s in self.scheduler.started() if s.request is found])

    def all_progress(self) -> dict[int, list[Made]]:
        """The same of every request that runs: a look at each alone would look through all each time."""
        started: dict[int, list[Running]] = {}
        for sequence in self.scheduler.started():
            started.setdefault(sequence.request.id, []).append(sequence)
        return {number: _made(sequences[0].request, sequences) for number, sequences in started.items()}

    def take_finished(self) -> list[tuple[int, list[Completion]]]:
        """What has finished since it was last asked for, each request once, here or by `completed`."""
        taken = [(request.id, request.completions) for request in self._finished]
        for number, _ in taken:
            self._requests.pop(number)
        self._finished.clear()
        return taken

    @property
    def idle(self) -> bool:
        """Nothing runs or waits: `step` would do nothing."""
        return self.scheduler.idle

    def usage(self) -> EngineUsage:
        scheduler, pool = self.scheduler, self.pool
        return EngineUsage(
            running=len(scheduler.running),
            reading=sum(len(reading.samples) for reading in scheduler.readings),
            waiting=scheduler.wanted,
            block_tokens=SPAN,
            blocks_total=pool.limit,
            blocks_used=pool.held,
            blocks_cached=pool.cached,
            prefix_queries=scheduler.asked,
            prefix_hits=scheduler.found,
            preemptions=scheduler.preemptions,
        )

    def abort(self, request: int) -> None:
        """Drop a request and free its slots and blocks; nobody is given it. Unknown ids are ignored."""
        found = self._requests.pop(request, None)
        if found is None:
            return
        if found in self._finished:
            self._finished.remove(found)
        self.scheduler.drop(found)
        running = self.scheduler.running
        slots = [slot for slot in reversed(range(len(running))) if running[slot].request is found]
        self._remove(dict.fromkeys(slots, FinishReason.ABORT))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take weights by public name; a view of the same memory costs nothing. Raises BadInput on a name or
        shape that the network hasn't, or lacks, and takes none then. Sequences that run go on with them, and
        nothing that the old ones left in the cache is found by a new prompt."""
        self.lm.refuse_quantized("give new weights to")
        given, own = dict(weights), dict(self.lm.network.public_tensors())
        refuse_weights(given, own)
        self.lm.network.take(given.items())
        self.runner.look_again()
        self.weights_version = version
        self.pool.forget(str(version))
        self._give_memory_back()

    @property
    def drafts(self) -> DraftCount | None:
        """What the MTP module drafted so far and how much of it was kept; None where none does."""
        return self.runner.drafting.drafts

    @property
    def lookups(self) -> DraftCount | None:
        """The same of drafts that were looked up; None where a module drafts, or nothing may."""
        return self.runner.drafting.lookups

    def _give_memory_back(self) -> None:
        if not self.pool.numbered:
            self.runner.give_memory_back()

    def _collect(self) -> None:
        """Close sequences that stopped or reached their limit, last slot first so that gaps fill from the
        end."""
        done: dict[int, FinishReason] = {}
        for slot in reversed(range(len(self.scheduler.running))):
            sequence = self.scheduler.running[slot]
            self._name_blocks(sequence)
            if (reason := sequence.ending) is not None:
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
        self._give_memory_back()
        return list(requests.values())

    def _name_blocks(self, sequence: Running) -> None:
        """Whole blocks of what a sequence has made can be found too: by the next turn of a conversation."""
        table = sequence.table
        if self.pool.keeps and sequence.place // SPAN > table.named:
            tokens = [*sequence.request.prompt, *sequence.ids]
            self.pool.name(table, tokens[: sequence.place])
            if self.runner.drafting.drafter is not None:
                self.pool.mark_drafted(table)


def _made(request: Request, started: Sequence[Running]) -> list[Made]:
    """Of each sample; `started` are those that aren't finished."""
    known = (request.prompt_logprobs, request.cached or 0)
    made = {s.sample: Made(s.ids, s.logprobs, s.top_logprobs, *known) for s in started}
    made |= {i: Made(c.ids, c.logprobs, c.top_logprobs, *known, c) for i, c in request.done.items()}
    return [made.get(sample, Made([], [], [])) for sample in range(request.params.n)]
