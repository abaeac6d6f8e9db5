"""The product with the vocabulary matrix, and the passes over its logits that training needs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.ops.native import Library, library_for
from shoestring.ops.packed import PackedCopy
from shoestring.ops.panels import pack_panels
from shoestring.ops.sample import sample


class Head:
    """Logits in float32 from bf16 operands. Rounded to bf16 they were most of what parts the sampler's
    logprobs from the trainer's: a mismatch KL of 1.3e-3 to 2.0e-3 against 5e-4 to 6e-4 (4000 tokens of
    SmolLM2-135M)."""

    def __init__(self) -> None:
        self._panels = PackedCopy(_pack)

    def logits(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """hidden (..., d), weight (V, d) -> (..., V) float32."""
        library = _product_library(hidden, weight)
        if library is None:
            return head_logits_plain(hidden, weight)
        rows = hidden.reshape(-1, hidden.shape[-1])
        out = torch.empty(len(rows), len(weight))
        panels = self._panels.of(weight)
        library.call("head_logits", (rows,), rows.contiguous(), panels, out, *out.shape, rows.shape[1])
        return out.view(*hidden.shape[:-1], len(weight))

    def draw(
        self, hidden: Tensor, weight: Tensor, uniform: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """`sample` of the logits of hidden (R, d) -> ids and logprobs (R,)."""
        library = _product_library(hidden, weight)
        if library is None:
            return sample(head_logits_plain(hidden, weight), uniform, temperature)
        rows, depth = hidden.shape
        ids, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        draws = uniform.double().contiguous() if temperature else None
        library.call(
            "head_sample", (hidden,), hidden.contiguous(), self._panels.of(weight), draws, ids, logprobs,
            rows, len(weight), depth, 1.0 / (temperature or 1.0),
        )  # fmt: skip
        return ids, logprobs

    def renew(self, weight: Tensor) -> None:
        self._panels.renew(weight)

    def keep_none(self) -> None:
        self._panels.keeps = False


def head_logits_plain(hidden: Tensor, weight: Tensor) -> Tensor:
    """The same where there is no kernel: on a GPU in float32 too, elsewhere rounded to the weight's dtype."""
    if hidden.device.type == "cuda" and hidden.dtype != torch.float32 and not torch.is_grad_enabled():
        rows = hidden.reshape(-1, hidden.shape[-1])
        return torch.mm(rows, weight.t(), out_dtype=torch.float32).view(*hidden.shape[:-1], -1)
    return _wide(F.linear(hidden, weight))


def _wide(x: Tensor) -> Tensor:
    """float32, or float64 where it is that already: tests compare in it."""
    return x if x.dtype == torch.float64 else x.float()


def _product_library(hidden: Tensor, weight: Tensor) -> Library | None:
    if hidden.dtype != torch.bfloat16 or weight.dtype != torch.bfloat16:
        return None
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return None
    library = library_for(hidden, weight)
    if library is None or not library.product_depth or hidden.shape[-1] % library.product_depth:
        return None
    return library


def _pack(weight: Tensor) -> Tensor:
    return pack_panels(weight).numbers


def target_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """logits (N, V), targets (N,) -> log softmax(logits / temperature)[targets] and the normalisers
    (logsumexp of the tempered logits), both (N,) float32."""
    library = None if logits.requires_grad else library_for(logits)
    if library is None:
        return target_logprobs_plain(logits, targets, temperature)
    rows, vocab = logits.shape
    logits, targets = logits.contiguous(), _checked(targets, vocab)
    chosen, normalizer = torch.empty(rows), torch.empty(rows)
    library.call(
        "target_logprobs", (logits,), logits, targets, chosen, normalizer, rows, vocab, 1.0 / temperature
    )
    return chosen, normalizer


def softmax_gradient_(
    logits: Tensor, normalizer: Tensor, targets: Tensor, slope: Tensor, temperature: float, out: Tensor
) -> None:
    """out (N, V) = d loss / d logits = slope * (onehot(targets) - softmax(logits / temperature)) /
    temperature. `out` may be the logits themselves, or narrower than they are."""
    paired = logits.dtype in (torch.float32, out.dtype)
    library = library_for(logits, out) if paired and out.is_contiguous() else None
    if library is None:
        return softmax_gradient_plain_(logits, normalizer, targets, slope, temperature, out)
    rows, vocab = logits.shape
    logits, targets = logits.contiguous(), _checked(targets, vocab)
    library.call(
        "softmax_gradient", (logits, out), logits, normalizer.contiguous(), targets,
        slope.float().contiguous(), out, rows, vocab, 1.0 / temperature,
    )  # fmt: skip


def target_logprobs_plain(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scaled = _wide(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    normalizer = scaled.logsumexp(-1)
    return scaled.gather(1, targets[:, None]).squeeze(1) - normalizer, normalizer


def softmax_gradient_plain_(
    logits: Tensor, normalizer: Tensor, targets: Tensor, slope: Tensor, temperature: float, out: Tensor
) -> None:
    scaled = _wide(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    gradient = (scaled - normalizer[:, None]).exp_()
    slope = slope / temperature
    gradient.mul_(-slope[:, None])
    gradient[torch.arange(len(targets), device=logits.device), targets] += slope
    out.copy_(gradient)


def _checked(targets: Tensor, vocab: int) -> Tensor:
    """The kernels index without looking."""
    targets = targets.long().contiguous()
    assert not len(targets) or (int(targets.min()) >= 0 and int(targets.max()) < vocab), (
        "a target is no token"
    )
    return targets
