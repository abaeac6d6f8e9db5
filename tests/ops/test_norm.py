"""The norm where there is no kernel."""

import pytest
import torch

from shoestring.ops.norm import rms_norm_plain, rms_norm_torch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_s_norm_equals_the_plain_one(dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(7, 5, 24) * 3, torch.randn(24).to(dtype)
    x.requires_grad_()
    weight.requires_grad_()
    made, wanted = rms_norm_torch(x, weight, 1e-5), rms_norm_plain(x, weight, 1e-5)
    assert made.dtype == wanted.dtype == dtype
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.02, "rtol": 0.01}
    torch.testing.assert_close(made, wanted, **tolerance)
    slope = torch.randn(made.shape).to(dtype)
    for one, other in zip(
        torch.autograd.grad(made, (x, weight), slope),
        torch.autograd.grad(wanted, (x, weight), slope),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **tolerance)
