"""Multi-token prediction (arXiv 2412.19437, eq. 21-25): module k reads the hidden state that predicts token
i + k and that token's embedding, and predicts token i + k + 1. Embedding and head are the main model's."""

import torch
from torch import Tensor, nn

from shoestring.models.attention import AttentionContext
from shoestring.models.block import Block
from shoestring.models.config import ModelConfig
from shoestring.models.layers_call import NetworkCall
from shoestring.models.linear import Linear
from shoestring.models.moe import RoutingTrace
from shoestring.ops.norm import add_rms_norm, rms_norm


class MTPModule(nn.Module):
    """The hidden state that goes in is the main model's after its final norm, or the module's before after
    `norm` (the checkpoint's shared_head.norm): with these norms acceptance was measured to be better, and the
    public code that came with R1-0528 has them."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.enorm = nn.Parameter(torch.ones(config.hidden_size))
        self.hnorm = nn.Parameter(torch.ones(config.hidden_size))
        self.eh_proj = Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.block = Block(config, layer)
        self.norm = nn.Parameter(torch.ones(config.hidden_size))
        self._call = NetworkCall(layer)

    def forward(
        self,
        hidden: Tensor,
        embedded: Tensor,
        rope: tuple[Tensor, Tensor],
        context: AttentionContext,
        trace: RoutingTrace,
        rows: Tensor | None = None,
    ) -> Tensor:
        """hidden (T, h) and the embedding (T, h) of the token that it predicts -> (T, h), normed; of `rows`
        alone where they are given."""
        # the checkpoint's eh_proj takes the embedding first, unlike the paper's formula
        joined = torch.cat(
            (rms_norm(embedded, self.enorm, self.eps), rms_norm(hidden, self.hnorm, self.eps)), dim=-1
        )
        x = self.eh_proj(joined).float()
        if (made := self._call.run([self.block], x, rope, context, trace)) is None:
            x, branch = self.block(x, None, rope, context, trace, rows)
        else:
            x, branch = made if rows is None else (of_all[rows] for of_all in made)
        return add_rms_norm(x, branch, self.norm, self.eps)[1]
