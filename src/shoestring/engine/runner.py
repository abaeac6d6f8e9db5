"""One forward pass of the engine: prompts in, or one token for each running sequence."""

from itertools import islice

import torch
from torch import Tensor

from shoestring.engine.cache import DecodeCache, HeadsCache
from shoestring.engine.draft import DraftCount, Drafter, drafting_pays
from shoestring.engine.latent import LatentCache
from shoestring.engine.logprobs import prompt_logprobs
from shoestring.engine.prefill import Prefill
from shoestring.engine.sampler import Sampler
from shoestring.engine.scheduler import Admission, Sequence, Token
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for


def _newest(sequence: Sequence, count: int) -> list[int]:
    """Its last tokens, of the prompt too where it has made few."""
    ids = sequence.ids[-count:]
    missing = count - len(ids)
    return [*sequence.request.prompt[-missing:], *ids] if missing else ids


def _take(sequence: Sequence, drafts: list[int], drawn: list[Token], count: DraftCount) -> int:
    """drawn[i] follows the newest token and i drafts, and is taken while those are right -> tokens taken."""
    for i, draft in enumerate(drafts):
        sequence.take(drawn[i])
        right, ended = drawn[i].id == draft, sequence.ending is not None
        count.accepted += int(right)
        if ended or not right:
            count.drafted += i + 1 if ended else len(drafts)
            return i + 1
    count.drafted += len(drafts)
    sequence.take(drawn[len(drafts)])
    return len(drafts) + 1


class Runner:
    """draft_tokens: how many tokens to draft ahead with the model's MTP module, where it has one and latent
    attention; None: one, while so few sequences run that it pays."""

    def __init__(self, network: Transformer, draft_tokens: int | None) -> None:
        self.network, self.draft_tokens = network, draft_tokens
        weight = network.norm  # the embedding may be quantised
        self.device, self.dtype = network.device, network.dtype
        self.sampler = Sampler(network)
        config, kind = network.config, (self.dtype, self.device)
        self.cache: DecodeCache
        self.drafter: Drafter | None = None  # of the sequences that run now
        self.drafts: DraftCount | None = None
        if config.is_mla:
            self.cache = LatentCache(config, config.num_hidden_layers, *kind, library_for(weight))
            if draft_tokens != 0 and config.num_nextn_predict_layers:
                self.drafts = DraftCount()
        else:
            self.cache = HeadsCache(config, *kind, library_for(weight))

    def _choose_drafting(self, new: list[Sequence]) -> None:
        """Drafting begins with nothing running and ends for all when too many run: the module has to have
        seen every token."""
        if self.drafts is None:
            return
        running = self.cache.own.count
        wanted = self.draft_tokens is not None or drafting_pays(running + len(new), self.device)
        if not wanted:
            self.drafter = None
        elif not running and self.drafter is None and not all(s.undrafted for s in new):
            ahead = 1 if self.draft_tokens is None else self.draft_tokens
            self.drafter = Drafter(self.network, ahead, self.drafts, self.dtype, self.device)

    @torch.no_grad()
    def prefill(self, admissions: list[Admission]) -> None:
        """Run each prompt once, fill the cache, and draw every sample's first token."""
        counts = [len(a.sequences) for a in admissions]
        sequences = [s for a in admissions for s in a.sequences]
        self._choose_drafting(sequences)
        drafts = self.drafter is not None
        context = Prefill([a.request.prompt for a in admissions], self.device, spare=int(drafts))
        output = self.network(context.ids, context.positions, cache=context)
        longest = max(len(a.request.prompt) for a in admissions)
        self.cache.reserve(len(counts), sum(counts), longest)
        self.cache.add_groups(context.prefilled(slice(None)), counts)
        repeats = torch.tensor(counts, device=self.device)
        last = output.hidden[context.starts + context.lengths - 1].repeat_interleave(repeats, dim=0)
        if output.routing is not None:
            self._record_prompts(admissions, context, output.routing)
        self._read_prompts(admissions, context, output.hidden)
        if self.drafter is not None:
            self._prefill_drafter(self.drafter, context, output.hidden, counts, longest)
            self.drafter.add(last)
        drawn = self.sampler.draw(last, [(s, len(s.ids)) for s in sequences])
        for sequence, token in zip(sequences, drawn, strict=True):
            sequence.take(token)

    def _prefill_drafter(
        self, drafter: Drafter, context: Prefill, hidden: Tensor, counts: list[int], longest: int
    ) -> None:
        """The module's latents of each prompt but its last token, whose successor is not drawn yet."""
        before = len(context.kept)
        following = torch.cat((context.ids[1:], context.ids[:1]))  # a row's last: any, it is not kept
        self.network.predict_further(0, hidden, following, context.positions, context)
        drafter.cache.reserve(len(counts), sum(counts), longest)
        drafter.cache.add_groups(context.prefilled(slice(before, None), without_last=True), counts)

    def _read_prompts(self, admissions: list[Admission], context: Prefill, hidden: Tensor) -> None:
        """hidden (T, d) of the prompts' tokens: the logprobs of these, for requests that asked."""
        spans = zip(admissions, context.starts.tolist(), context.lengths.tolist(), strict=True)
        for admission, start, length in spans:
            request, top = admission.request, admission.request.params.prompt_logprobs
            if top is not None and request.prompt_logprobs is None:
                whole = torch.cat((hidden[: context.shared], hidden[start : start + length - 1]))
                found = prompt_logprobs(self.network, whole, request.prompt[1:], top)
                request.prompt_logprobs = [{}, *found]

    def _record_prompts(self, admissions: list[Admission], context: Prefill, routing: Tensor) -> None:
        """routing (T, layers, K) of the prompts' tokens to the samples that asked for it."""
        spans = zip(admissions, context.starts.tolist(), context.lengths.tolist(), strict=True)
        for admission, start, length in spans:
            if admission.request.params.record_routing:
                whole = torch.cat((routing[: context.shared], routing[start : start + length]))
                for sequence in admission.sequences:
                    sequence.routing.append(whole.to(torch.int16).cpu())

    @torch.no_grad()
    def decode(self, running: list[Sequence]) -> None:
        """One more token for each running sequence, or two where a draft was right."""
        if self.drafter is not None:
            self._decode_checked(self.drafter, running)
            return
        ids = torch.tensor([s.ids[-1] for s in running], device=self.device)
        places = torch.tensor([s.place for s in running], device=self.device)
        self.cache.begin_step()
        output = self.network(ids, places, cache=self.cache)
        self.cache.end_step()
        self._record(running, output.routing, 1, [1] * len(running))
        drawn = self.sampler.draw(output.hidden, [(s, len(s.ids)) for s in running])
        for sequence, token in zip(running, drawn, strict=True):
            sequence.take(token)

    def _decode_checked(self, drafter: Drafter, running: list[Sequence]) -> None:
        window, places = drafter.window, [s.place for s in running]
        numbers = [len(s.ids) for s in running]  # of the token that comes next

        def drawn_ahead(hidden: Tensor, further: int) -> list[int]:
            wanted = [(s, number + further) for s, number in zip(running, numbers, strict=True)]
            return self.sampler.draft(hidden, wanted)

        drafts = drafter.draft([_newest(s, window) for s in running], places, drawn_ahead)
        fed = [token for s, own in zip(running, drafts, strict=True) for token in (s.ids[-1], *own)]
        at = [place + ahead for place in places for ahead in range(window)]
        self.cache.begin_step(window)
        ids, positions = (torch.tensor(numbers, device=self.device) for numbers in (fed, at))
        output = self.network(ids, positions, cache=self.cache)
        drawn = self._draw_checked(output.hidden, running, window)
        kept: list[int] = []
        for sequence, own, tokens in zip(running, drafts, drawn, strict=True):
            kept.append(_take(sequence, own[: len(tokens) - 1], tokens, drafter.count))
        self.cache.end_step(torch.tensor(kept, device=self.device))
        self._record(running, output.routing, window, kept)
        drafter.checked(output.hidden, kept)

    def _draw_checked(self, hidden: Tensor, running: list[Sequence], window: int) -> list[list[Token]]:
        """hidden (A * window, h) after each slot's newest token and its drafts -> the tokens that follow
        there; of a sequence that isn't drafted only the first."""
        ahead = [1 if s.undrafted else window for s in running]
        if min(ahead) < window:
            rows = [window * slot + j for slot, count in enumerate(ahead) for j in range(count)]
            hidden = hidden[torch.tensor(rows, device=self.device)]
        wanted = [(s, len(s.ids) + j) for s, count in zip(running, ahead, strict=True) for j in range(count)]
        drawn = iter(self.sampler.draw(hidden, wanted))
        return [list(islice(drawn, count)) for count in ahead]

    def _record(self, running: list[Sequence], routing: Tensor | None, tokens: int, kept: list[int]) -> None:
        """routing (A * tokens, layers, K) of the tokens fed, of which the first kept[i] of slot i stand."""
        if routing is None or not any(s.request.params.record_routing for s in running):
            return
        by_slot = routing.unflatten(0, (-1, tokens)).to(torch.int16).cpu()
        for row, sequence in enumerate(running):
            if sequence.request.params.record_routing:
                sequence.routing.append(by_slot[row, : kept[row]])

    def remove(self, slots: list[int]) -> None:
        """Drop what these slots, given falling, keep."""
        self.cache.remove(slots)
        if self.drafter is not None:
            self.drafter.remove(slots)
