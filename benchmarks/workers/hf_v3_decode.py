"""`generate` of transformers on a DeepSeek-V3 folder; each turn says which way it is to run the experts."""

import time

from hf_generate import generate
from turns import Turns


def main() -> None:
    with Turns() as turns:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        spec = turns.spec
        dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32}[spec["dtype"]]
        model = AutoModelForCausalLM.from_pretrained(spec["folder"], dtype=dtype).eval()
        # without an end-of-turn id there is nothing to stop at, and nothing to look for after each token
        model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=None)
        with torch.inference_mode():
            generate(model, spec["warmup"], {"temperature": 0.0, "max_tokens": 4, "n": 1})
            turns.ready("transformers")
            for turn in turns:
                model.set_experts_implementation(turn.get("experts", "eager"))
                began = time.perf_counter()
                made = generate(model, turn["prompts"], turn)
                seconds = time.perf_counter() - began
                turns.answer(
                    seconds=seconds, tokens=sum(map(len, made)), ids=made if turn["want_ids"] else None
                )


if __name__ == "__main__":
    main()
