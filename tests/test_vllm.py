"""A DeepSeek-V3 folder of ours in vLLM's CPU build: the same greedy tokens. vLLM lives in an environment of
its own (`bash benchmarks/install_peers.sh vllm`, or SHOESTRING_VLLM names its Python); without it the test is
skipped."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel
from shoestring.models.presets import from_width
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.text.template import Template
from tiny import CHATML, tiny_tokenizer

ROOT = Path(__file__).parents[1]
VLLM = Path(os.environ.get("SHOESTRING_VLLM", ROOT / ".venv-vllm/bin/python"))
TOKENS = 24
NEAR = 0.05  # a gap of float32 logits under which another kernel may take the other token

SCRIPT = """
import json, sys
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
folder, prompts, tokens = json.loads(sys.stdin.read())
llm = LLM(model=folder, dtype="float32", skip_tokenizer_init=True, max_model_len=256, enforce_eager=True)
params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True, detokenize=False)
outputs = llm.generate([TokensPrompt(prompt_token_ids=p) for p in prompts], params, use_tqdm=False)
print("IDS" + json.dumps([list(o.outputs[0].token_ids) for o in outputs]))
"""


def model() -> LanguageModel:
    """vLLM's latent attention takes kv_lora_rank 512 and qk_rope_head_dim 64 alone."""
    tokenizer = tiny_tokenizer()
    config = from_width(128, tokenizer.vocab_size).with_end_ids((257,))
    changes = {"kv_lora_rank": 512, "qk_nope_head_dim": 64, "qk_rope_head_dim": 64, "head_dim": 128}
    config = type(config)(**{**vars(config), **changes, "num_hidden_layers": 3, "initializer_range": 0.1})
    network = Transformer(config)
    network.init_weights(0)
    for router in network.routers():
        router.e_score_correction_bias.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    return LanguageModel(network, tokenizer, Template(tokenizer, CHATML, (257,)), config, Lineage(()), "v3")


@pytest.mark.slow
@pytest.mark.skipif(not VLLM.exists(), reason="no vLLM: bash benchmarks/install_peers.sh vllm")
def test_vllm_makes_the_same_tokens(tmp_path: Path) -> None:
    lm = model()
    lm.save(tmp_path / "model")
    prompts = [[5, 9, 200, 31, 7], list(range(40, 75)), [3, 4, 5]]
    params = SamplingParams(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    ours = [samples[0].ids for samples in Engine(lm).generate(prompts, params)]
    done = subprocess.run(
        [str(VLLM), "-c", SCRIPT],
        input=json.dumps([str(tmp_path / "model"), prompts, TOKENS]),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("IDS")]
    assert found, done.stderr[-2000:]
    compared = 0
    for prompt, mine, theirs in zip(prompts, ours, json.loads(found[0][3:]), strict=True):
        for place, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if a != b:
                best = lm.logits([prompt + mine[:place]])[0, -1].topk(2).values
                assert best[0] - best[1] < NEAR, f"token {place}: {a} and {b}"
                break
            compared += 1
    assert compared >= TOKENS  # of 72; a fork where two tokens are as likely ends a row's comparison
