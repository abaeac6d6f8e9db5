"""Our SFT step: a step's rows to micro-batches, forward, backward, AdamW. A turn is one step."""

import time

from turns import Turns


def main() -> None:
    with Turns() as turns:
        from shoestring.budget.flops import train_flops
        from shoestring.jobs.sft import make_batches
        from shoestring.lm import load
        from shoestring.text.message import Rendered
        from shoestring.train.batch import sum_of_contexts
        from shoestring.train.learner import Learner
        from shoestring.train.loss import sft_loss
        from shoestring.train.optim import OptimSettings

        spec = turns.spec
        lm = load(spec["folder"], dtype=spec["dtype"])
        optim = OptimSettings(learning_rate=spec["learning_rate"], warmup_steps=0)
        learner = Learner(lm, optim, total_steps=10**6)
        steps = [[Rendered(ids, trained) for ids, trained in rows] for rows in spec["steps"]]

        def step(number: int) -> dict[str, float]:
            rows = steps[number % len(steps)]
            began = time.perf_counter()
            batches = make_batches(rows, spec["micro_batch_tokens"])
            metrics = learner.update(batches, sft_loss)
            seconds = time.perf_counter() - began
            computed = sum(b.num_tokens for b in batches)
            pairs = sum(sum_of_contexts(b.packed) for b in batches)
            flops = train_flops(lm.config, computed, pairs, sum(b.num_targets for b in batches))
            tokens = sum(len(row.ids) for row in rows)
            return {"seconds": seconds, "tokens": tokens, "flops": flops, "loss": metrics.loss}

        for number in range(spec["warmup_steps"]):
            step(number)
        turns.ready("shoestring")
        for number, _ in enumerate(turns, start=spec["warmup_steps"]):
            turns.answer(**step(number))


if __name__ == "__main__":
    main()
