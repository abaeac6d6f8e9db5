"""A DeepSeek-V3 model that we exported, in vLLM's CPU build: the same greedy tokens. vLLM lives in an
environment of its own (`bash benchmarks/install_peers.sh vllm`, or SHOESTRING_VLLM names its Python); without
it the test is skipped.

Two things about vLLM 0.32 on a CPU: its latent attention takes kv_lora_rank 512 and qk_rope_head_dim 64
alone; and without rope scaling its rotary kernel answers differently from transformers (and from us) as soon
as a prompt has a few tokens, so the model here has YaRN, as the published ones do."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.release.export import export
from shoestring.release.prove import Readers
from shoestring.release.source import Source
from vllm_models import learnt

ROOT = Path(__file__).parents[1]
VLLM = Path(os.environ.get("SHOESTRING_VLLM", ROOT / ".venv-vllm/bin/python"))
TOKENS = 24
NEAR = 0.05  # a gap of float32 logits under which bf16 may take the other token

# in bf16: vLLM's experts take no float32 on a CPU
SCRIPT = """
import json, sys

def main():
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt
    folder, prompts, tokens = json.loads(sys.stdin.read())
    llm = LLM(model=folder, dtype="bfloat16", skip_tokenizer_init=True, max_model_len=256, enforce_eager=True,
              gpu_memory_utilization=0.3)
    params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True, detokenize=False)
    outputs = llm.generate([TokensPrompt(prompt_token_ids=p) for p in prompts], params, use_tqdm=False)
    print("IDS" + json.dumps([list(o.outputs[0].token_ids) for o in outputs]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not VLLM.exists(), reason="no vLLM: bash benchmarks/install_peers.sh vllm")
def test_vllm_makes_the_same_tokens(tmp_path: Path) -> None:
    lm, texts = learnt()
    lm.network.float()  # the same numbers, as an export wants its model
    source = Source(lm, torch.bfloat16, False, None, "")
    export(source, tmp_path / "model", "hf", None, 1, Readers(None, None, 1), print)
    lm.network.to(torch.bfloat16)
    prompts = [texts[0][:5], texts[1][:20], texts[2][:39], [3, 4, 5]]
    params = SamplingParams(max_tokens=TOKENS, temperature=0.0, ignore_eos=True)
    ours = [samples[0].ids for samples in Engine(lm).generate(prompts, params)]
    script = tmp_path / "greedy.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [str(VLLM), str(script)],
        input=json.dumps([str(tmp_path / "model"), prompts, TOKENS]),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    lm.network.float()  # the same weights, for the gaps
    found = [line for line in done.stdout.splitlines() if line.startswith("IDS")]
    assert found, done.stderr[-2000:]
    theirs = json.loads(found[0][3:])
    assert ours[:3] == theirs[:3]
    for place, (a, b) in enumerate(zip(ours[3], theirs[3], strict=True)):  # of a text that it never saw
        if a != b:
            best = lm.logits([prompts[3] + ours[3][:place]])[0, -1].topk(2).values
            assert best[0] - best[1] < NEAR, f"token {place}: {a} and {b}"
            break
