"""TRL's GRPOTrainer on the same prompts with the same scorer. A turn is one whole step."""

import tempfile
from typing import Any

from turns import Turns


def main() -> None:
    with Turns() as turns:
        from datasets import Dataset
        from transformers import AutoTokenizer
        from trl import GRPOConfig, GRPOTrainer
        from trl_common import TurnCallback, load_model, shared_config

        from shoestring.tasks.draw import ProblemStream
        from shoestring.tasks.suite import parse_suite, score
        from shoestring.text.message import Reply

        spec = turns.spec
        problems = ProblemStream(parse_suite(spec["suite"]), spec["seed"]).take(
            spec["prompts"] * spec["steps"]
        )
        chats = [[{"role": "user", "content": p.prompt}] for p in problems]
        dataset = Dataset.from_dict({"prompt": chats, "index": list(range(len(problems)))})
        tokenizer = AutoTokenizer.from_pretrained(spec["folder"])
        callback = TurnCallback(turns, spec["warmup_steps"])

        def reward(completions: list[Any], completion_ids: list[list[int]], index: list[int], **_: Any):
            # a cut reply earns nothing; thinking isn't looked for, the base never opens any
            rewards = []
            for completion, ids, i in zip(completions, completion_ids, index, strict=True):
                ended = ids[-1] == tokenizer.eos_token_id
                reply = Reply(None, completion[0]["content"], cut=not ended)
                rewards.append(score(problems[i], reply).value if ended else 0.0)
            size = spec["samples"]
            groups = [rewards[i : i + size] for i in range(0, len(rewards), size)]
            callback.measured["groups"] = len(groups)
            callback.measured["live"] = sum(max(g) > min(g) for g in groups)
            callback.measured["mean_length"] = sum(map(len, completion_ids)) / len(completion_ids)
            callback.measured["reward"] = sum(rewards) / len(rewards)
            return rewards

        samples = spec["prompts"] * spec["samples"]
        with tempfile.TemporaryDirectory() as folder:
            config = GRPOConfig(
                per_device_train_batch_size=spec["batch"],
                gradient_accumulation_steps=samples // spec["batch"],
                num_generations=spec["samples"],
                max_completion_length=spec["max_tokens"],
                temperature=1.0,
                beta=0.0,
                epsilon=0.2,
                epsilon_high=0.28,
                loss_type="dapo",
                scale_rewards="none",
                num_iterations=1,
                **shared_config(spec, folder),
            )
            trainer = GRPOTrainer(
                model=load_model(spec["folder"], spec["precision"]),
                reward_funcs=reward,
                args=config,
                train_dataset=dataset,
                processing_class=tokenizer,
                callbacks=[callback],
            )
            trainer.train()


if __name__ == "__main__":
    main()
