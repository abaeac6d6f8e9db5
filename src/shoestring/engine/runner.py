"""One forward pass of the engine: prompts in, or one token for each running sequence."""

import numpy as np
import torch
from torch import Tensor

from shoestring.engine.cache import DecodeCache
from shoestring.engine.request import SamplingParams
from shoestring.engine.scheduler import Admission, Sequence
from shoestring.errors import ShoestringError
from shoestring.models.cache import PackedRows
from shoestring.models.transformer import Transformer
from shoestring.ops.sample import sample, truncate, uniforms


class _Prefill:
    """Packed prompts whose keys and values are kept for the decode cache."""

    def __init__(self, lengths: Tensor) -> None:
        starts = lengths.cumsum(0) - lengths
        self.rows = PackedRows(starts, lengths, torch.full_like(lengths, -1), int(lengths.sum()))
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.keys.append(k)
        self.values.append(v)
        return self.rows.attend(layer, q, k, v)


class Runner:
    def __init__(self, network: Transformer) -> None:
        self.network = network
        weight = network.embed_tokens
        self.device = weight.device
        self.cache = DecodeCache(network.config, weight.dtype, self.device)

    @torch.no_grad()
    def prefill(self, admissions: list[Admission]) -> None:
        """Run each prompt once, fill the cache, and draw every sample's first token."""
        lengths = torch.tensor([len(a.request.prompt) for a in admissions], device=self.device)
        flat = [token for a in admissions for token in a.request.prompt]
        context = _Prefill(lengths)
        positions = torch.cat([torch.arange(n, device=self.device) for n in lengths.tolist()])
        hidden = self.network(torch.tensor(flat, device=self.device), positions, cache=context).hidden
        ends = lengths.cumsum(0)
        logits = self.network.head(hidden[ends - 1])
        counts = [len(a.sequences) for a in admissions]
        self.cache.reserve(len(counts), sum(counts), int(lengths.max()))
        for admission, end, length in zip(admissions, ends.tolist(), lengths.tolist(), strict=True):
            span = slice(end - length, end)
            self.cache.add_group(
                [k[span] for k in context.keys], [v[span] for v in context.values], len(admission.sequences)
            )
        sequences = [s for a in admissions for s in a.sequences]
        self._draw(logits.repeat_interleave(torch.tensor(counts, device=self.device), dim=0), sequences)

    @torch.no_grad()
    def decode(self, running: list[Sequence]) -> None:
        """One more token for each running sequence."""
        self.cache.begin_step()
        ids = torch.tensor([s.ids[-1] for s in running], device=self.device)
        places = [len(s.request.prompt) + len(s.ids) - 1 for s in running]
        output = self.network(ids, torch.tensor(places, device=self.device), cache=self.cache)
        self.cache.end_step()
        self._draw(self.network.head(output.hidden), running)

    def _draw(self, logits: Tensor, sequences: list[Sequence]) -> None:
        """logits (R, V): append one token and its logprob to each sequence."""
        keys = np.array([s.key for s in sequences], dtype=np.uint64)
        draws = uniforms(keys, np.array([len(s.ids) for s in sequences]))
        uniform = torch.from_numpy(draws).to(self.device)
        by_params: dict[tuple[float, float, int], list[int]] = {}
        for row, sequence in enumerate(sequences):
            by_params.setdefault(_sampling(sequence.request.params), []).append(row)
        for (temperature, top_p, top_k), rows in by_params.items():
            whole = len(rows) == len(sequences)
            part = logits if whole else logits[rows]
            if top_p < 1 or top_k:
                part = truncate(part, temperature, top_p, top_k)
            ids, logprobs = sample(part, uniform if whole else uniform[rows], temperature)
            for row, token, logprob in zip(rows, ids.tolist(), logprobs.tolist(), strict=True):
                if logprob != logprob:
                    raise ShoestringError(
                        "the model's logits are not finite (NaN): its weights are damaged or training diverged"
                    )
                sequences[row].ids.append(token)
                sequences[row].logprobs.append(logprob)


def _sampling(params: SamplingParams) -> tuple[float, float, int]:
    return params.temperature, params.top_p, params.top_k
