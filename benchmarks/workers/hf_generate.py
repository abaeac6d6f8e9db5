"""`generate` of transformers, left-padded batches in the prompts' order, no end-of-turn id."""

import time
from typing import Any

from turns import Turns


def generate(model: Any, prompts: list[list[int]], turn: dict[str, Any]) -> list[list[int]]:
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    sampling = {"do_sample": False}
    if turn["temperature"]:
        sampling = {"do_sample": True, "temperature": turn["temperature"], "top_k": 0, "top_p": 1.0}
    made = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=turn["max_tokens"],
        num_return_sequences=turn["n"],
        **sampling,
    )
    return made[:, width:].tolist()


def main() -> None:
    with Turns() as turns:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        spec = turns.spec
        dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32}[spec["dtype"]]
        model = AutoModelForCausalLM.from_pretrained(spec["folder"], dtype=dtype).eval()
        # without an end-of-turn id there is nothing to stop at, and nothing to look for after each token
        model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=None)
        warm = {"temperature": 1.0, "max_tokens": 4, "n": 1}
        with torch.inference_mode():
            generate(model, spec["warmup"], warm)
            turns.ready("transformers")
            for turn in turns:
                torch.manual_seed(turn["seed"])
                size = max(1, turn["batch"] // turn["n"])
                made: list[list[int]] = []
                began = time.perf_counter()
                for start in range(0, len(turn["prompts"]), size):
                    made += generate(model, turn["prompts"][start : start + size], turn)
                seconds = time.perf_counter() - began
                turns.answer(
                    seconds=seconds, tokens=sum(map(len, made)), ids=made if turn["want_ids"] else None
                )


if __name__ == "__main__":
    main()
