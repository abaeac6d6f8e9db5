"""`python -m killed_runs BASE SUITE TOKENIZER OUT`: runs that kill -9 themselves, each in its own folder and
process. Torch is imported once and each run is a fork of that, made before any thread is."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from shoestring.run import Stage
from shoestring.train import state
from training_runs import pretrain_settings, refreshing_grpo_settings, reward_settings, run, sft_settings

# (name, what is patched, which call of it is never made)
RENAMES_OF_FIRST_SAVE = 2  # into state.new, into state; later ones put the old state aside in between
POINTS: dict[str, tuple[Any, str, int]] = {
    "after-step": (Stage, "log", 6),
    "while-writing": (state, "save_file", 2),  # the second save has made its folder only
    "before-rename-1": (os, "rename", RENAMES_OF_FIRST_SAVE + 1),
    "before-rename-2": (os, "rename", RENAMES_OF_FIRST_SAVE + 2),
    "before-rename-3": (os, "rename", RENAMES_OF_FIRST_SAVE + 3),
}
# the step whose state is whole at each point: saves are made after steps 2 and 4
SAVED = dict(zip(POINTS, (4, 2, 2, 4, 4), strict=True))


def killing(real: Callable, call: int) -> Callable:
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    return counted


def main(base: Path, suite: str, tokenizer: Path, out: Path) -> None:
    settings = {"sft": sft_settings(base), "grpo": refreshing_grpo_settings(base, suite)}
    settings |= {"pretrain": pretrain_settings(tokenizer), "reward": reward_settings(base)}
    for job in settings:
        for name, (owner, attribute, call) in POINTS.items():
            if job != "sft" and name not in ("after-step", "before-rename-3"):
                continue
            child = os.fork()
            if child == 0:
                with patch.object(owner, attribute, killing(getattr(owner, attribute), call)):
                    run(settings[job], out / f"{job}-{name}")
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == signal.SIGKILL, (job, name, status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
