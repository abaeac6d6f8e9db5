"""A process of its own that trains a small model twice, or an adapter of it, and prints how much its memory
grew and what was said of it: train|adapt dense|v3 TOKENS ROW DTYPE."""

import gc
import sys
from types import SimpleNamespace
from typing import Any

import torch

from shoestring.budget.memory import Memory, training_memory
from shoestring.jobs.plan_work import adapter_of
from shoestring.models.config import ModelConfig
from shoestring.models.presets import from_width
from shoestring.models.transformer import Transformer
from shoestring.ops.hostmemory import keep_freed_memory
from shoestring.ops.memory import give_back, peak_bytes, reset_peak
from shoestring.train.learner import Learner
from shoestring.train.lora import Adapters, LoRASettings
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.rehearsal import longest_batch

CPU = torch.device("cpu")


def config_of(kind: str, small: bool = False) -> ModelConfig:
    if kind == "v3":
        return from_width(128, 256) if small else from_width(256, 4096)
    heads, layers, vocab = (1, 1, 256) if small else (6, 8, 8192)
    return ModelConfig(
        model_type="llama",
        vocab_size=vocab,
        hidden_size=64 * heads,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 3),
        head_dim=64,
        tie_word_embeddings=True,
    )


def train(
    config: ModelConfig, dtype: torch.dtype, tokens: int, row: int, lora: LoRASettings | None
) -> tuple[Any, Memory]:
    network = Transformer(config).to(dtype)
    network.init_weights(0)
    lm: Any = SimpleNamespace(
        network=network, config=config, device=CPU, dtype=dtype, refuse_quantized=lambda purpose: None
    )
    mtp = config.num_nextn_predict_layers > 0
    objectives = Objectives(mtp_weight=0.3, balance_weight=1e-4) if mtp else Objectives()
    adapters = None if lora is None else Adapters(lm.network, lora, seed=0)
    learner = Learner(lm, OptimSettings(), 10, objectives, adapters)
    batch = longest_batch(row, 0, tokens, config.max_position_embeddings, config.vocab_size)
    for _ in range(2):
        learner.update([batch], sft_loss)
    counts = batch.num_tokens, batch.num_targets
    adapter = None if lora is None else adapter_of(config, lora)
    return learner, training_memory(config, *counts, dtype.itemsize, mtp, adapter)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def main() -> None:
    what, kind, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[5])
    tokens, row = int(sys.argv[3]), int(sys.argv[4])
    lora = LoRASettings() if what == "adapt" else None
    torch.set_num_threads(1)
    keep_freed_memory()
    train(config_of(kind, small=True), dtype, 256, 64, lora)  # kernels are loaded and threads begun
    gc.collect()
    give_back(CPU)
    before = resident()
    reset_peak(CPU)
    _kept, said = train(config_of(kind), dtype, tokens, row, lora)
    print(peak_bytes(CPU) - before, said.total)


if __name__ == "__main__":
    main()
