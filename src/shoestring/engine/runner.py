"""One forward pass of the engine: prompts in, or one token for each running sequence."""

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.cache import DecodeCache, HeadsCache
from shoestring.engine.draft import DraftCount, Drafter, drafting_pays
from shoestring.engine.latent import LatentCache
from shoestring.engine.prefill import Prefill
from shoestring.engine.request import SamplingParams
from shoestring.engine.scheduler import Admission, Sequence
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for
from shoestring.ops.sample import sample, truncate, uniforms


def _newest(sequence: Sequence, count: int) -> list[int]:
    """Its last tokens, of the prompt too where it has made few."""
    ids = sequence.ids[-count:]
    missing = count - len(ids)
    return [*sequence.request.prompt[-missing:], *ids] if missing else ids


def _take(
    sequence: Sequence, drafts: list[int], drawn: list[int], logprobs: list[float], count: DraftCount
) -> int:
    """drawn[i] follows the newest token and i drafts, and is taken while those are right -> tokens taken."""
    for i, draft in enumerate(drafts):
        sequence.take(drawn[i], logprobs[i])
        right = drawn[i] == draft
        count.accepted += int(right)
        if sequence.ended or not right:
            count.drafted += i + 1 if sequence.ended else len(drafts)
            return i + 1
    count.drafted += len(drafts)
    sequence.take(drawn[len(drafts)], logprobs[len(drafts)])
    return len(drafts) + 1


class Runner:
    """draft_tokens: how many tokens to draft ahead with the model's MTP module, where it has one and latent
    attention; None: one, while so few sequences run that it pays."""

    def __init__(self, network: Transformer, draft_tokens: int | None) -> None:
        self.network, self.draft_tokens = network, draft_tokens
        weight = network.norm  # the embedding may be quantised
        self.device, self.dtype = network.device, network.dtype
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

    def _choose_drafting(self, new: int) -> None:
        """Drafting begins with nothing running and ends for all when too many run: the module has to have
        seen every token."""
        if self.drafts is None:
            return
        running = self.cache.own.count
        wanted = self.draft_tokens is not None or drafting_pays(running + new, self.device)
        if not wanted:
            self.drafter = None
        elif not running and self.drafter is None:
            ahead = 1 if self.draft_tokens is None else self.draft_tokens
            self.drafter = Drafter(self.network, ahead, self.drafts, self.dtype, self.device)

    @torch.no_grad()
    def prefill(self, admissions: list[Admission]) -> None:
        """Run each prompt once, fill the cache, and draw every sample's first token."""
        counts = [len(a.sequences) for a in admissions]
        self._choose_drafting(sum(counts))
        drafts = self.drafter is not None
        context = Prefill([a.request.prompt for a in admissions], self.device, spare=int(drafts))
        output = self.network(context.ids, context.positions, cache=context)
        longest = max(len(a.request.prompt) for a in admissions)
        self.cache.reserve(len(counts), sum(counts), longest)
        self.cache.add_groups(context.prefilled(slice(None)), counts)
        sequences = [s for a in admissions for s in a.sequences]
        repeats = torch.tensor(counts, device=self.device)
        last = output.hidden[context.starts + context.lengths - 1].repeat_interleave(repeats, dim=0)
        if output.routing is not None:
            self._record_prompts(admissions, context, output.routing)
        if self.drafter is not None:
            self._prefill_drafter(self.drafter, context, output.hidden, counts, longest)
            self.drafter.add(last)
        ids, logprobs = self._draw(last, [(s, len(s.ids)) for s in sequences])
        for row, sequence in enumerate(sequences):
            sequence.take(ids[row], logprobs[row])

    def _prefill_drafter(
        self, drafter: Drafter, context: Prefill, hidden: Tensor, counts: list[int], longest: int
    ) -> None:
        """The module's latents of each prompt but its last token, whose successor is not drawn yet."""
        before = len(context.kept)
        following = torch.cat((context.ids[1:], context.ids[:1]))  # a row's last: any, it is not kept
        self.network.predict_further(0, hidden, following, context.positions, context)
        drafter.cache.reserve(len(counts), sum(counts), longest)
        drafter.cache.add_groups(context.prefilled(slice(before, None), without_last=True), counts)

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
        drawn, logprobs = self._draw(output.hidden, [(s, len(s.ids)) for s in running])
        for row, sequence in enumerate(running):
            sequence.take(drawn[row], logprobs[row])

    def _decode_checked(self, drafter: Drafter, running: list[Sequence]) -> None:
        window, places = drafter.window, [s.place for s in running]
        numbers = [len(s.ids) for s in running]  # of the token that comes next

        def drawn_ahead(hidden: Tensor, further: int) -> list[int]:
            wanted = [(s, number + further) for s, number in zip(running, numbers, strict=True)]
            return self._draw(hidden, wanted)[0]

        drafts = drafter.draft([_newest(s, window) for s in running], places, drawn_ahead)
        fed = [token for s, own in zip(running, drafts, strict=True) for token in (s.ids[-1], *own)]
        at = [place + ahead for place in places for ahead in range(window)]
        self.cache.begin_step(window)
        ids, positions = (torch.tensor(numbers, device=self.device) for numbers in (fed, at))
        output = self.network(ids, positions, cache=self.cache)
        wanted = [(s, len(s.ids) + ahead) for s in running for ahead in range(window)]
        drawn, logprobs = self._draw(output.hidden, wanted)
        kept: list[int] = []
        for row, sequence in enumerate(running):
            own = slice(window * row, window * (row + 1))
            kept.append(_take(sequence, drafts[row], drawn[own], logprobs[own], drafter.count))
        self.cache.end_step(torch.tensor(kept, device=self.device))
        self._record(running, output.routing, window, kept)
        drafter.checked(output.hidden, kept)

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

    def _draw(self, hidden: Tensor, wanted: list[tuple[Sequence, int]]) -> tuple[list[int], list[float]]:
        """hidden (R, d), and for each row its sequence and the number of the token in it -> ids and logprobs,
        by the sequence's own random number for that token."""
        if any(sequence.request.params.temperature for sequence, _ in wanted):
            keys = np.array([s.key for s, _ in wanted], dtype=np.uint64)
            draws = uniforms(keys, np.array([number for _, number in wanted]))
        else:
            draws = np.zeros(len(wanted))
        uniform = torch.from_numpy(draws).to(self.device)
        by_params: dict[tuple[float, float, int], list[int]] = {}
        for row, (sequence, _) in enumerate(wanted):
            by_params.setdefault(_sampling(sequence.request.params), []).append(row)
        ids, logprobs = [0] * len(wanted), [0.0] * len(wanted)
        for (temperature, top_p, top_k), rows in by_params.items():
            whole = len(rows) == len(wanted)
            part, draw = (hidden, uniform) if whole else (hidden[rows], uniform[rows])
            if top_p < 1 or top_k:
                logits = truncate(self.network.head(part), temperature, top_p, top_k)
                made, how_likely = sample(logits, draw, temperature)
            else:
                made, how_likely = self.network.draw(part, draw, temperature)
            for row, token, logprob in zip(rows, made.tolist(), how_likely.tolist(), strict=True):
                ids[row], logprobs[row] = token, logprob
        return ids, logprobs


def _sampling(params: SamplingParams) -> tuple[float, float, int]:
    return params.temperature, params.top_p, params.top_k
