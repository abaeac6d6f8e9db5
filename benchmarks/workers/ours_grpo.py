"""Our GRPO job as a user runs it, stopped after each step. A turn is a whole step: sample, judge, update."""

import tempfile
import time
from pathlib import Path

from turns import Turns


def main() -> None:
    with Turns() as turns:
        from shoestring.jobs import grpo
        from shoestring.run import Stage
        from shoestring.train.optim import OptimSettings

        spec = turns.spec

        class TurnStage(Stage):
            def log(self, step: int, metrics: dict[str, float]) -> None:
                super().log(step, metrics)
                if step > spec["warmup_steps"]:
                    turns.answer(
                        seconds=time.perf_counter() - self.began,
                        groups=metrics["groups/live"]
                        + metrics["groups/dead_all_right"]
                        + metrics["groups/dead_other"],
                        live=metrics["groups/live"],
                        mean_length=metrics["completions/mean_length"],
                        reward=metrics["reward"],
                        generate_seconds=metrics["time/generate"],
                        update_seconds=metrics["time/update"],
                    )
                if step == spec["warmup_steps"]:
                    turns.ready("shoestring")
                if step >= spec["warmup_steps"]:
                    turns.next()
                self.began = time.perf_counter()

        settings = grpo.GRPOSettings(
            model=spec["folder"],
            suites=[spec["suite"]],
            steps=10**6,
            prompts_per_step=spec["prompts"],
            samples_per_prompt=spec["samples"],
            max_completion_tokens=spec["max_tokens"],
            refill_rounds=0,  # as the peer: dead groups aren't replaced
            optim=OptimSettings(learning_rate=spec["learning_rate"], warmup_steps=0),
            seed=spec["seed"],
            save_every=10**6,
            rollouts_every=10**6,
            dtype="bfloat16",
        )
        with tempfile.TemporaryDirectory() as folder:
            grpo.main(settings, TurnStage(Path(folder) / "run", "grpo"))


if __name__ == "__main__":
    main()
