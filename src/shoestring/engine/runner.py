"""One forward pass of the engine: prompts in, or one token for each running sequence."""

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.cache import DecodeCache, Prefilled
from shoestring.engine.request import SamplingParams
from shoestring.engine.scheduler import Admission, Sequence
from shoestring.errors import ShoestringError
from shoestring.models.cache import PackedRows
from shoestring.models.transformer import Transformer
from shoestring.ops.native import library_for
from shoestring.ops.sample import sample, truncate, uniforms

SHARED_LEAST = 16  # a common beginning shorter than this is not worth a row of its own


class _Prefill:
    """Prompts laid end to end, their common beginning (a system prompt, worked examples) once before them
    all. Keys and values are kept for the decode cache."""

    def __init__(self, prompts: list[list[int]], device: torch.device) -> None:
        self.shared = _common_beginning(prompts)
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
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys.append(k)
        self.values.append(v)
        return self.rows.attend(layer, q, k, v)

    def prefilled(self) -> Prefilled:
        return Prefilled(self.keys, self.values, self.starts, self.lengths, self.shared)


def _common_beginning(prompts: list[list[int]]) -> int:
    """Tokens that all prompts begin with, leaving each one of its own at least; 0 where sharing won't pay."""
    if len(prompts) < 2:
        return 0
    first, longest = prompts[0], min(len(p) for p in prompts) - 1
    shared = next((i for i in range(longest) if any(p[i] != first[i] for p in prompts)), longest)
    return shared if shared >= SHARED_LEAST else 0


class Runner:
    def __init__(self, network: Transformer) -> None:
        self.network = network
        weight = network.embed_tokens
        self.device = weight.device
        self.cache = DecodeCache(network.config, weight.dtype, self.device, library_for(weight))

    @torch.no_grad()
    def prefill(self, admissions: list[Admission]) -> None:
        """Run each prompt once, fill the cache, and draw every sample's first token."""
        context = _Prefill([a.request.prompt for a in admissions], self.device)
        hidden = self.network(context.ids, context.positions, cache=context).hidden
        last = hidden[context.starts + context.lengths - 1]
        counts = [len(a.sequences) for a in admissions]
        longest = max(len(a.request.prompt) for a in admissions)
        self.cache.reserve(len(counts), sum(counts), longest)
        self.cache.add_groups(context.prefilled(), counts)
        sequences = [s for a in admissions for s in a.sequences]
        self._draw(last.repeat_interleave(torch.tensor(counts, device=self.device), dim=0), sequences)

    @torch.no_grad()
    def decode(self, running: list[Sequence]) -> None:
        """One more token for each running sequence."""
        self.cache.begin_step()
        ids = torch.tensor([s.ids[-1] for s in running], device=self.device)
        places = [len(s.request.prompt) + len(s.ids) - 1 for s in running]
        output = self.network(ids, torch.tensor(places, device=self.device), cache=self.cache)
        self.cache.end_step()
        self._draw(output.hidden, running)

    def _draw(self, hidden: Tensor, sequences: list[Sequence]) -> None:
        """hidden (R, d): append one token and its logprob to each sequence."""
        keys = np.array([s.key for s in sequences], dtype=np.uint64)
        draws = uniforms(keys, np.array([len(s.ids) for s in sequences]))
        uniform = torch.from_numpy(draws).to(self.device)
        by_params: dict[tuple[float, float, int], list[int]] = {}
        for row, sequence in enumerate(sequences):
            by_params.setdefault(_sampling(sequence.request.params), []).append(row)
        for (temperature, top_p, top_k), rows in by_params.items():
            whole = len(rows) == len(sequences)
            part, draw = (hidden, uniform) if whole else (hidden[rows], uniform[rows])
            if top_p < 1 or top_k:
                logits = truncate(self.network.head(part), temperature, top_p, top_k)
                ids, logprobs = sample(logits, draw, temperature)
            else:
                ids, logprobs = self.network.draw(part, draw, temperature)
            for row, token, logprob in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
                if logprob != logprob:
                    raise ShoestringError(
                        "the model's logits are not finite (NaN): "
                        "its weights are damaged or training diverged"
                    )
                sequences[row].ids.append(token)
                sequences[row].logprobs.append(logprob)


def _sampling(params: SamplingParams) -> tuple[float, float, int]:
    return params.temperature, params.top_p, params.top_k
