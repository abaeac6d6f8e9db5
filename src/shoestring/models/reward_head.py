"""A network that gives a text one number: the decoder, and in place of the vocabulary's head one linear
without bias on the last token's hidden state. Its folder is what transformers'
AutoModelForSequenceClassification loads, with the same scores."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from shoestring.errors import BadInput
from shoestring.models.attention import AttentionContext
from shoestring.models.checkpoint import CONFIG, DTYPE_NAMES, read_config, source_for
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import ARCHITECTURES, config_to_hf
from shoestring.models.shards import Stored, open_folder, write_json, write_weights
from shoestring.models.transformer import Transformer
from shoestring.models.weights import empty_network, fill_network

SCORE = "score.weight"


class RewardNetwork(nn.Module):
    """`body` is a Transformer without head and MTP modules. The score's weight is float32 whatever the body's
    dtype, and so are the scores: of two good answers the difference is small."""

    def __init__(self, body: Transformer, score: Tensor) -> None:
        super().__init__()
        self.body = body
        self.score = nn.Parameter(score.float())  # (1, hidden_size)

    @classmethod
    def on(cls, network: Transformer, seed: int) -> "RewardNetwork":
        """On a language model's network, which loses its head and is no longer one. The new head is normal
        with std 1 / sqrt(hidden_size), the same for the same seed."""
        network.config = _headless(network.config)
        network.lm_head, network.mtp = None, nn.ModuleList()
        size = network.config.hidden_size
        drawn = torch.randn(1, size, generator=torch.Generator(device="cpu").manual_seed(seed))
        return cls(network, (drawn / math.sqrt(size)).to(network.embed_tokens.device))

    @property
    def config(self) -> ModelConfig:
        return self.body.config

    @property
    def device(self) -> torch.device:
        return self.score.device

    def forward(self, ids: Tensor, positions: Tensor, cache: AttentionContext, ends: Tensor) -> Tensor:
        """Flat ids and positions (T,), ends (R,) each text's last token -> scores (R,) float32."""
        hidden = self.body(ids, positions, cache=cache).hidden.index_select(0, ends)
        return torch.mv(hidden.float(), self.score[0])


def write_reward_checkpoint(network: RewardNetwork, folder: Path, pad_id: int) -> None:
    """config.json and the weights. transformers scores the last token that isn't `pad_id`, so that must be no
    token that ends a text."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = [
        Stored(name, tuple(tensor.shape), tensor.dtype, partial(torch.clone, tensor))
        for name, tensor in network.body.public_tensors()
    ]
    score = network.score.detach()
    tensors.append(Stored(SCORE, tuple(score.shape), score.dtype, partial(torch.clone, score)))
    write_weights(folder, tensors, shard_bytes=5_000_000_000)
    raw = config_to_hf(network.config, DTYPE_NAMES[network.body.embed_tokens.dtype])
    causal = ARCHITECTURES[network.config.model_type]
    raw |= {"architectures": [causal.replace("ForCausalLM", "ForSequenceClassification")]}
    raw |= {"num_labels": 1, "id2label": {"0": "reward"}, "label2id": {"reward": 0}, "pad_token_id": pad_id}
    write_json(folder / CONFIG, raw)


def load_reward_checkpoint(folder: Path, dtype: torch.dtype, device: str) -> RewardNetwork:
    """Raises BadInput, one line, where the folder is no reward model."""
    stored = open_folder(folder)
    if SCORE not in stored.shapes:
        raise BadInput(
            f"{folder} is not a reward model: it has no {SCORE}; `shoestring reward` trains one on a model"
        )
    config = _headless(read_config(folder))
    if stored.shapes[SCORE] != (1, config.hidden_size):
        raise BadInput(f"{folder}: {SCORE} is {list(stored.shapes[SCORE])}, not [1, {config.hidden_size}]")
    rest = dataclasses.replace(
        stored, shapes={name: shape for name, shape in stored.shapes.items() if name != SCORE}
    )
    body = empty_network(config, dtype, device)
    fill_network(body, source_for(body, rest, None))
    score = stored.read(SCORE).to(device)
    if not torch.isfinite(score).all():
        raise BadInput(f"{folder}: tensor {SCORE} holds NaN or infinite numbers")
    return RewardNetwork(body, score)


def _headless(config: ModelConfig) -> ModelConfig:
    """Nothing reads a head here: "tied" is the config of a network without one of its own."""
    return dataclasses.replace(config, tie_word_embeddings=True, num_nextn_predict_layers=0)
