"""Run by a Python that has transformers, not imported: what transformers makes of an exported folder. From
standard input {"folder", "prompts", "texts", "said", "rows"}; logprobs go to ROWS/N.npy, all else to standard
output. It knows nothing of Shoestring, so that any environment will do."""

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    import numpy as np
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given: dict[str, Any] = json.loads(sys.stdin.read())
    folder = given["folder"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = []
    with torch.inference_mode():
        for number, (prompt, text) in enumerate(zip(given["prompts"], given["texts"], strict=True)):
            made.append(greedy(model, prompt, len(text)))
            logits = model(torch.tensor([[*prompt, *text[:-1]]])).logits[0, len(prompt) - 1 :]
            np.save(Path(given["rows"]) / f"{number}.npy", logits.float().log_softmax(-1).numpy())
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": said}], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        for said in given["said"]
    ]
    print("RESULT " + json.dumps({"tokens": made, "prompts": rendered, "version": transformers.__version__}))


def greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    """With its own cache, token by token."""
    import torch

    cache, ids, made = None, torch.tensor([prompt]), []
    for _ in range(count):
        out = model(ids, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        made.append(int(out.logits[0, -1].argmax()))
        ids = torch.tensor([[made[-1]]])
    return made


if __name__ == "__main__":
    main()
