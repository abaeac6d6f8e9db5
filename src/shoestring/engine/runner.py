"""One forward pass of the engine: prompts in, or one token for each running sequence."""

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.cache import DecodeCache, HeadsCache, Prefilled
from shoestring.engine.draft import WINDOW, Drafter
from shoestring.engine.latent import LatentCache
from shoestring.engine.request import SamplingParams
from shoestring.engine.scheduler import Admission, Sequence
from shoestring.models.attention import AttentionContext
from shoestring.models.cache import PackedRows
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for
from shoestring.ops.sample import sample, truncate, uniforms

SHARED_LEAST = 16  # a common beginning shorter than this is not worth a row of its own


class _Prefill(AttentionContext):
    """Prompts laid end to end, their common beginning (a system prompt, worked examples) once before them
    all. What the decode cache keeps of each layer is collected: keys and values, or latents."""

    def __init__(self, prompts: list[list[int]], device: torch.device, spare: int) -> None:
        """spare: tokens by which the common beginning is shortened."""
        self.shared = _common_beginning(prompts, spare)
        rest = [prompt[self.shared :] for prompt in prompts]
        rows = [prompts[0][: self.shared], *rest] if self.shared else rest
        lengths = torch.tensor([len(row) for row in rows], device=device)
        starts = lengths.cumsum(0) - lengths
        parents = torch.full_like(lengths, -1)
        if self.shared:
            parents[1:] = 0
        offsets = torch.where(parents == 0, self.shared, 0) if self.shared else torch.zeros_like(lengths)
        self.ids = torch.tensor([token for row in rows for token in row], device=device)
        places = torch.arange(len(self.ids), device=device)
        self.positions = places - (starts - offsets).repeat_interleave(lengths)
        own = slice(1, None) if self.shared else slice(None)
        self.starts, self.lengths = starts[own], lengths[own]
        self.rows = PackedRows(starts, lengths, parents, len(self.ids))
        self.kept: list[tuple[Tensor, ...]] = []
        self.latents = False

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if not self.latents:
            self.kept.append((k, v))
        return self.rows.attend(layer, q, k, v, scale)

    def keep_latent(self, layer: int, latent: Tensor) -> None:
        self.latents = True
        self.kept.append((latent[:, None],))

    def prefilled(self, layers: slice, without_last: bool = False) -> Prefilled:
        """Of these layers; without_last: the last token of each prompt is not kept."""
        stores = list(zip(*self.kept[layers], strict=True))
        return Prefilled(stores, self.starts, self.lengths - int(without_last), self.shared)


def _common_beginning(prompts: list[list[int]], spare: int) -> int:
    """Tokens that all prompts begin with but for `spare`, leaving each one of its own at least; 0 where
    sharing won't pay."""
    if len(prompts) < 2:
        return 0
    first, longest = prompts[0], min(len(p) for p in prompts) - 1
    shared = next((i for i in range(longest) if any(p[i] != first[i] for p in prompts)), longest)
    return shared - spare if shared - spare >= SHARED_LEAST else 0


class Runner:
    """speculative: draft with the model's MTP module where it has one and latent attention."""

    def __init__(self, network: Transformer, speculative: bool = True) -> None:
        self.network = network
        weight = network.embed_tokens
        self.device = weight.device
        config, kind = network.config, (weight.dtype, weight.device)
        self.drafter: Drafter | None = None
        self.cache: DecodeCache
        if config.is_mla:
            self.cache = LatentCache(config, config.num_hidden_layers, *kind, library_for(weight))
            if speculative and config.num_nextn_predict_layers:
                self.drafter = Drafter(network, *kind)
        else:
            self.cache = HeadsCache(config, *kind, library_for(weight))

    @torch.no_grad()
    def prefill(self, admissions: list[Admission]) -> None:
        """Run each prompt once, fill the cache, and draw every sample's first token."""
        drafts = self.drafter is not None
        context = _Prefill([a.request.prompt for a in admissions], self.device, spare=int(drafts))
        output = self.network(context.ids, context.positions, cache=context)
        counts = [len(a.sequences) for a in admissions]
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
        self, drafter: Drafter, context: "_Prefill", hidden: Tensor, counts: list[int], longest: int
    ) -> None:
        """The module's latents of each prompt but its last token, whose successor is not drawn yet."""
        before = len(context.kept)
        following = torch.cat((context.ids[1:], context.ids[:1]))  # a row's last: any, it is not kept
        self.network.predict_further(0, hidden, following, context.positions, context)
        drafter.cache.reserve(len(counts), sum(counts), longest)
        drafter.cache.add_groups(context.prefilled(slice(before, None), without_last=True), counts)

    def _record_prompts(self, admissions: list[Admission], context: "_Prefill", routing: Tensor) -> None:
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
        before = [(s.ids[-2] if len(s.ids) > 1 else s.request.prompt[-1]) for s in running]
        last, places = [s.ids[-1] for s in running], [s.place for s in running]
        guess = drafter.hidden(before, last, places)
        drafts, _ = self._draw(guess, [(s, len(s.ids)) for s in running])

        self.cache.begin_step(WINDOW)
        pairs = [token for pair in zip(last, drafts, strict=True) for token in pair]
        at = [place + ahead for place in places for ahead in range(WINDOW)]
        ids, positions = (torch.tensor(numbers, device=self.device) for numbers in (pairs, at))
        output = self.network(ids, positions, cache=self.cache)
        wanted = [(s, len(s.ids) + ahead) for s in running for ahead in range(WINDOW)]
        drawn, logprobs = self._draw(output.hidden, wanted)
        accepted: list[int] = []
        for row, sequence in enumerate(running):
            first = WINDOW * row
            sequence.take(drawn[first], logprobs[first])
            right = drawn[first] == drafts[row] and not sequence.ended
            if right:
                sequence.take(drawn[first + 1], logprobs[first + 1])
            accepted.append(int(right))
        kept = [1 + right for right in accepted]
        self.cache.end_step(torch.tensor(kept, device=self.device))
        self._record(running, output.routing, WINDOW, kept)
        drafter.checked(output.hidden, kept)
        drafter.count.steps += len(running)
        drafter.count.tokens += sum(kept)
        drafter.count.accepted += sum(accepted)

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
