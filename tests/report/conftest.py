"""One finished run for every test of the report."""

from pathlib import Path

import pytest

from run_folders import RECIPE, RIGHT, begin, evaluate, train_sft, train_zero, unit


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """Finished: zero, its random-reward arm, a cold start, and their scores."""
    folder = begin(tmp_path_factory.mktemp("runs") / "laptop")
    zero, cold, check = RECIPE["stage"]
    train_zero(unit(folder, 1, zero), 0.35)
    train_zero(unit(folder, 1, zero | {"reward": "random"}, "random"), 0.0)
    train_sft(unit(folder, 2, cold))
    evaluate(unit(folder, 3, check), RIGHT)
    evaluate(unit(folder, 3, check, "random"), RIGHT | {("zero", ""): (70, 11)})
    folder.status("finished")
    return folder.path
