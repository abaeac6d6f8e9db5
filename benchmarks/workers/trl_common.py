"""What both TRL workers need: the model as asked for, and the trainer's loop cut into turns."""

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, TrainerCallback
from turns import Turns


def load_model(folder: str, precision: str) -> Any:
    """With precision "weights" they are bf16 and nothing is kept in float32; else they are float32."""
    dtype = torch.bfloat16 if precision == "weights" else torch.float32
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def shared_config(spec: dict[str, Any], folder: str) -> dict[str, Any]:
    """AdamW as ours, a constant rate, nothing logged or saved, nothing computed twice to spare memory."""
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": spec["precision"] == "autocast",
        "learning_rate": spec["learning_rate"],
        "lr_scheduler_type": "constant",
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-8,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "max_steps": 10**6,
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


class TurnCallback(TrainerCallback):
    """A step of the trainer is a turn; `measured` is filled in by the trainer while it runs."""

    def __init__(self, turns: Turns, warmup_steps: int) -> None:
        self.turns, self.warmup_steps = turns, warmup_steps
        self.measured: dict[str, float] = {}
        self._began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.warmup_steps:
            self.turns.ready("trl", "transformers", "accelerate")
        if state.global_step >= self.warmup_steps:
            self.turns.next()
        self.measured.clear()
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seconds = time.perf_counter() - self._began
        if state.global_step > self.warmup_steps:
            self.turns.answer(seconds=seconds, **self.measured)
