"""DeepseekV3 of transformers in a plain loop: rows in batches, clipping, fused AdamW. A turn is one step."""

import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        import torch
        from transformers import DeepseekV3ForCausalLM

        spec = turns.spec
        autocast = spec["precision"] == "autocast"
        model = DeepseekV3ForCausalLM.from_pretrained(
            spec["folder"],
            dtype=torch.bfloat16 if spec["precision"] == "weights" else torch.float32,
            experts_implementation=spec["experts"],
        ).train()
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=spec["learning_rate"],
            betas=(0.9, 0.95),
            eps=1e-8,
            weight_decay=0.0,
            fused=True,
        )
        steps = spec["steps"]

        def step(number: int) -> dict[str, float]:
            total = 0.0
            began = time.perf_counter()
            rows = torch.tensor(steps[number % len(steps)])
            for ids in rows.split(spec["batch"]):
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    made = model(input_ids=ids, labels=ids, use_cache=False)
                loss = made.loss * (len(ids) / len(rows))
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return {"seconds": time.perf_counter() - began, "tokens": rows.numel(), "loss": total}

        for number in range(spec["warmup_steps"]):
            step(number)
        turns.ready("transformers")
        for number, _ in enumerate(turns, start=spec["warmup_steps"]):
            turns.answer(**step(number))


if __name__ == "__main__":
    main()
