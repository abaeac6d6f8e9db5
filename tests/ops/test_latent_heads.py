"""The one-pass kernel against torch's own operations, forward and backward."""

import pytest
import torch

from shoestring.models.rope import rope_tables
from shoestring.ops.latent_heads import HeadWidths, latent_heads, latent_heads_plain


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_kernel_equals_plain(interleaved: bool, dtype: torch.dtype, close: float) -> None:
    widths = HeadWidths(nope=6, rope=8, value=10, interleaved=interleaved)
    g = torch.Generator().manual_seed(0)
    rope = rope_tables(torch.tensor([1.0, 0.3, 0.1, 0.03]), torch.arange(7))
    results = []
    for run in (latent_heads, latent_heads_plain):
        g.manual_seed(0)
        queries = torch.randn(7, 3, 14, generator=g).to(dtype).requires_grad_()
        expanded = torch.randn(7, 3, 16, generator=g).to(dtype).requires_grad_()
        wide = torch.randn(7, 20, generator=g).to(dtype).requires_grad_()
        q, k, v = run(queries, expanded, wide[:, 12:], *rope, widths)
        weights = [torch.randn(t.shape, generator=g).to(dtype) for t in (q, k, v)]
        loss = sum((t * w).float().sum() for t, w in zip((q, k, v), weights, strict=True))
        grads = torch.autograd.grad(loss, (queries, expanded, wide))
        results.append((q, k, v, *grads))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=close, atol=close * 4)
