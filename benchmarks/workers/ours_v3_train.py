"""Our pretraining step on rows of random ids: forward, backward, AdamW. A turn is one step."""

import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        import torch

        from shoestring.jobs.training import update_flops
        from shoestring.lm import load
        from shoestring.text.packing import pack_documents
        from shoestring.train.batch import MicroBatch
        from shoestring.train.learner import Learner
        from shoestring.train.loss import sft_loss
        from shoestring.train.optim import OptimSettings

        spec = turns.spec
        lm = load(spec["folder"], dtype=spec["dtype"])
        optim = OptimSettings(learning_rate=spec["learning_rate"], warmup_steps=0)
        learner = Learner(lm, optim, total_steps=10**6)
        steps = spec["steps"]

        def micro_batches(rows: list[list[int]]) -> list[MicroBatch]:
            each = max(1, spec["micro_batch_tokens"] // len(rows[0]))
            packs = [
                pack_documents([[row] for row in rows[at : at + each]], document_mask=False)
                for at in range(0, len(rows), each)
            ]
            targets = sum(len(p.targets) for p in packs)
            return [MicroBatch(p, torch.full((len(p.targets),), 1.0 / targets)) for p in packs]

        def step(number: int) -> dict[str, float]:
            began = time.perf_counter()
            batches = micro_batches(steps[number % len(steps)])
            metrics = learner.update(batches, sft_loss)
            seconds = time.perf_counter() - began
            tokens = sum(batch.num_tokens for batch in batches)
            flops = update_flops(lm.config, batches)
            return {"seconds": seconds, "tokens": tokens, "flops": flops, "loss": metrics.loss}

        for number in range(spec["warmup_steps"]):
            step(number)
        turns.ready("shoestring")
        for number, _ in enumerate(turns, start=spec["warmup_steps"]):
            turns.answer(**step(number))


if __name__ == "__main__":
    main()
