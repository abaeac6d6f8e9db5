"""TRL's SFTTrainer on rows that are ids and labels already. A turn is one optimizer step."""

import tempfile

from turns import Turns


def main() -> None:
    with Turns() as turns:
        from datasets import Dataset
        from torch.utils.data import SequentialSampler
        from transformers import AutoTokenizer
        from trl import SFTConfig, SFTTrainer
        from trl_common import TurnCallback, load_model, shared_config

        spec = turns.spec
        rows = [row for step in spec["steps"] for row in step]
        labels = [[i if t else -100 for i, t in zip(ids, trained, strict=True)] for ids, trained in rows]
        dataset = Dataset.from_dict({"input_ids": [ids for ids, _ in rows], "labels": labels})
        callback = TurnCallback(turns, spec["warmup_steps"])

        class Trainer(SFTTrainer):
            def _get_train_sampler(self, dataset=None):
                return SequentialSampler(dataset if dataset is not None else self.train_dataset)

            def training_step(self, model, inputs, num_items_in_batch=None):
                # a packed row has no padding and no mask
                mask = inputs.get("attention_mask")
                tokens = inputs["input_ids"].numel() if mask is None else int(mask.sum())
                loss = super().training_step(model, inputs, num_items_in_batch)
                for name, value in (("tokens", tokens), ("loss", loss.item())):
                    callback.measured[name] = callback.measured.get(name, 0) + value
                return loss

        with tempfile.TemporaryDirectory() as folder:
            config = SFTConfig(
                per_device_train_batch_size=spec["batch"],
                gradient_accumulation_steps=spec["accumulate"],
                max_length=spec["max_length"],
                packing=spec["packing"],
                **shared_config(spec, folder),
            )
            trainer = Trainer(
                model=load_model(spec["folder"], spec["precision"]),
                args=config,
                train_dataset=dataset,
                processing_class=AutoTokenizer.from_pretrained(spec["folder"]),
                callbacks=[callback],
            )
            trainer.train()


if __name__ == "__main__":
    main()
