"""Models that vLLM's CPU build takes, and a step-by-step engine run to its end."""

import dataclasses

import torch
from torch.nn import functional as F

from shoestring.lm import LanguageModel
from shoestring.models.config import RopeScaling
from shoestring.models.presets import from_width
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.text.template import Template
from tiny import CHATML, tiny_lm, tiny_tokenizer

PROMPTS = [[5], [5, 6], [5, 6, 7, 8] * 6, [9, 10, 11] * 9]


def wide(seed: int, tied: bool = True) -> LanguageModel:
    """With heads of a size that vLLM has."""
    base = tiny_lm()
    changes = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64}
    config = dataclasses.replace(base.config, **changes, initializer_range=0.1, tie_word_embeddings=tied)
    network = Transformer(config)
    network.init_weights(seed)
    return dataclasses.replace(base, network=network, config=config)


def made(engine, params, prompts=PROMPTS):
    numbers = [engine.submit(prompt, params, str(i)) for i, prompt in enumerate(prompts)]
    done = {}
    while not engine.idle:
        engine.step()
        done |= dict(engine.take_finished())
    return [done[number] for number in numbers]


def learnt() -> tuple[LanguageModel, list[list[int]]]:
    """A model that knows eight random texts by heart, so that rounding decides no token of theirs, and the
    texts."""
    tokenizer = tiny_tokenizer()
    config = dataclasses.replace(
        from_width(128, tokenizer.vocab_size).with_end_ids((257,)),
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        head_dim=192,
        rope_scaling=RopeScaling(
            "yarn", 4.0, original_max_position_embeddings=512, mscale=1.0, mscale_all_dim=1.0
        ),
    )
    network = Transformer(config)
    network.init_weights(0)
    for router in network.routers():
        router.e_score_correction_bias.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    texts = torch.randint(3, 250, (8, 64), generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        hidden = network(texts, torch.arange(64).expand(8, -1)).hidden
        loss = F.cross_entropy(network.head(hidden[:, :-1]).flatten(0, 1), texts[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    template = Template(tokenizer, CHATML, (257,))
    lm = LanguageModel(network, tokenizer, template, config, Lineage(()), "v3")
    lm.network.to(torch.bfloat16)
    return lm, texts.tolist()
