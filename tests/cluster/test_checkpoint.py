"""What ranks write together is what one process writes, and a run goes on with any number of them."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ranks import run
from ranks_work import (
    V3_OBJECTIVES,
    Case,
    alone,
    go_on,
    go_on_alone,
    read_and_forward,
    save_alone,
    save_halfway,
    save_twice,
    save_where_one_cannot,
    state_by_hand,
)
from shoestring.cluster.parallelize import ParallelSettings
from shoestring.errors import ShoestringError
from shoestring.models.checkpoint import load_checkpoint
from shoestring.train.learner import Learner
from shoestring.train.loss import sft_loss
from shoestring.train.optim import OptimSettings
from small_disk import small_disk

CASE = Case(objectives=V3_OBJECTIVES, steps=4)


@pytest.mark.slow
def test_ranks_write_the_files_of_one_process(tmp_path: Path) -> None:
    courses = run(2, save_halfway, CASE, ParallelSettings(expert=2), tmp_path, expert=2)
    network = load_checkpoint(tmp_path / "model", torch.float32, "cpu")
    stored = dict(network.public_tensors())
    assert stored.keys() == courses[0].weights.keys()
    for name, tensor in courses[0].weights.items():
        assert torch.equal(stored[name], tensor), name
    ours, theirs = tmp_path / "alone", tmp_path / "alone model"
    ours.mkdir()
    save_alone(CASE, ours)
    CASE.model().save(theirs)
    mine, want = load_file(tmp_path / "optimizer.safetensors"), load_file(ours / "optimizer.safetensors")
    assert mine.keys() == want.keys()
    for name, tensor in want.items():
        torch.testing.assert_close(mine[name], tensor, atol=2e-4, rtol=1e-3, msg=name)
    assert (
        load_file(tmp_path / "model/model.safetensors").keys()
        == load_file(theirs / "model.safetensors").keys()
    )
    assert (tmp_path / "model/config.json").read_text() == (theirs / "config.json").read_text()
    assert (tmp_path / "progress.json").read_text() == (ours / "progress.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "expert"), [(1, 1), (3, 1), (4, 4), (2, 2)])
def test_a_run_goes_on_with_another_number_of_ranks(size: int, expert: int, tmp_path: Path) -> None:
    want = alone(CASE)
    run(4, save_halfway, CASE, ParallelSettings(expert=2), tmp_path, expert=2)
    for course in run(size, go_on, CASE, ParallelSettings(expert=expert), tmp_path, expert=expert):
        assert course.losses == pytest.approx(want.losses[2:], abs=1e-5)
        assert course.max_vio == want.max_vio[2:]


@pytest.mark.slow
def test_one_process_goes_on_where_ranks_stopped_and_the_other_way_round(tmp_path: Path) -> None:
    want = alone(CASE)
    run(4, save_halfway, CASE, ParallelSettings(expert=2), tmp_path, expert=2)
    assert go_on_alone(CASE, tmp_path).losses == pytest.approx(want.losses[2:], abs=1e-5)
    shutil.rmtree(tmp_path / "model")
    save_alone(CASE, tmp_path)
    for course in run(2, go_on, CASE, ParallelSettings(expert=2), tmp_path, expert=2):
        assert course.losses == pytest.approx(want.losses[2:], abs=1e-5)


@pytest.mark.slow
def test_ranks_read_a_folder_and_give_the_logprobs_of_one_process(tmp_path: Path) -> None:
    lm = CASE.model()
    lm.save(tmp_path)
    learner = Learner(lm, OptimSettings(), 1)
    want = [learner.forward(batch, sft_loss)[1] for batch in CASE.batches(0)]
    for logprobs in run(2, read_and_forward, CASE, ParallelSettings(), tmp_path):
        for mine, theirs in zip(logprobs, want, strict=True):
            torch.testing.assert_close(mine, theirs.detach(), atol=1e-4, rtol=1e-4)


def test_a_rank_that_sees_another_folder_is_named_by_all(tmp_path: Path) -> None:
    for result in run(2, save_where_one_cannot, CASE, tmp_path / "model", allow=True):
        assert isinstance(result, ShoestringError)
        assert "rank 1 could not write" in str(result)
        assert "all ranks must see one folder" in str(result)
    assert not (tmp_path / "model/model.safetensors").exists()


def test_the_state_that_is_gathered_is_the_one_that_is_written(tmp_path: Path) -> None:
    whole, nothing = run(2, state_by_hand, CASE, tmp_path, expert=2)
    stored = load_file(tmp_path / "optimizer.safetensors")
    assert not nothing
    assert whole.keys() == stored.keys()
    assert all(torch.equal(whole[name], tensor) for name, tensor in stored.items())


@pytest.mark.slow
def test_a_full_disk_is_named_by_all_ranks_and_what_was_saved_is_whole(tmp_path: Path) -> None:
    CASE.model().save(tmp_path / "whole")
    nbytes = (tmp_path / "whole/model.safetensors").stat().st_size
    with small_disk(tmp_path / "disk", 2 * nbytes) as disk:
        results = run(2, save_twice, CASE, disk, nbytes, allow=True)
        for result in results:
            assert isinstance(result, ShoestringError), result
            assert "could not write" in str(result)
            assert "No space left on device" in str(result)
        assert not list(disk.rglob("*.part"))
        kept = load_checkpoint(disk / "model", torch.float32, "cpu")
    for name, tensor in CASE.model().network.public_tensors():
        assert torch.equal(dict(kept.public_tensors())[name], tensor), name
