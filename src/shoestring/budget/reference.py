"""Two small models that the probe trains and lets write for a moment, a dense one and one with latent
attention and experts: what share of the products' rate this package reaches on this machine is measured, not
assumed."""

import time
from collections.abc import Callable
from dataclasses import replace

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig
from shoestring.models.presets import from_width
from shoestring.models.transformer import Transformer
from shoestring.ops.hostmemory import keep_freed_memory
from shoestring.origin import Lineage
from shoestring.text.template import Template
from shoestring.text.tokenizer import SpecialTokens, Tokenizer
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.optim import OptimSettings
from shoestring.train.rehearsal import longest_batch

DENSE = ModelConfig(
    model_type="llama",
    vocab_size=8192,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=6,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    tie_word_embeddings=True,
)
MIXED = replace(from_width(256, 2048), num_nextn_predict_layers=0)
ROW, TOKENS = 128, 512  # of an update
STREAMS, PROMPT, NEW = 32, 32, 8  # of generating
TIMES, LONG_S = 3, 5.0
MARKS = ("<begin>", "<end>", "<pad>")


def measure(config: ModelConfig, precision: str) -> tuple[float, float]:
    """Seconds of one update, and of generating: the best of TIMES each, after one that warms up."""
    keep_freed_memory()
    lm = reference_model(config, torch.bfloat16 if precision == "bf16" else torch.float32)
    prompts = [[(7 * i + j) % 256 for j in range(PROMPT)] for i in range(STREAMS)]
    params = SamplingParams(max_tokens=NEW, temperature=1.0)
    engine = Engine(lm, max_batch=STREAMS, cache_gib=0.25)
    generate_s = _best(lambda: engine.generate(prompts, params))
    learner = Learner(lm, OptimSettings(), 10)
    batch = longest_batch(ROW, 0, TOKENS, config.max_position_embeddings, config.vocab_size)
    return _best(lambda: learner.update([batch], sft_loss)), generate_s


def reference_model(config: ModelConfig, dtype: torch.dtype) -> LanguageModel:
    """Random weights, and a tokenizer of bytes that nothing is read by."""
    network = Transformer(config).to(dtype)
    network.init_weights(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(MARKS))
    tokenizer = Tokenizer(backend, SpecialTokens(bos=MARKS[0], eos=MARKS[1], pad=MARKS[2]))
    template = Template(
        tokenizer, "{% for m in messages %}{{ m['content'] }}{% endfor %}", (config.vocab_size - 1,)
    )
    return LanguageModel(network, tokenizer, template, config, Lineage(()), "reference")


def _best(work: Callable[[], object]) -> float:
    """Of TIMES after one that warms up, fewer where that takes long: a busy machine is still measured
    soon."""
    times = []
    while len(times) <= TIMES and (not times or sum(times) < LONG_S):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:] or times)
