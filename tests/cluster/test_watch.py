"""A rank that stalls, stops or dies: the others end at the deadline, and one line names it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from ranks import Died, run
from ranks_work import Case, stall
from shoestring.cluster.watch import Watch, Word, blame
from shoestring.errors import ShoestringError

CASE = Case()


def word(rank: int, phase: str, turn: int, broke: bool = True, ago: float = 0.0) -> Word:
    return Word(rank, phase, turn, 5.0, 2**30, time.time() - ago, broke)


def said(*words: Word, size: int | None = None, gone: tuple[int, ...] = ()) -> str:
    return blame(
        list(words), set(gone), size or len(words), 60.0, Path("ranks"), RuntimeError("Timed out\nmore")
    )


def test_who_is_to_blame() -> None:
    line = said(word(0, "pass 2", 9), word(1, "save", 7, broke=False), word(2, "pass 2", 9))
    assert line.startswith(
        "rank 1 is in 'save' for 5 s, at most 1.00 GiB so far; ranks 0, 2 waited in 'pass 2'"
    )
    assert "deadline 60 s" in line
    assert line.endswith("Timed out")
    assert said(word(0, "pass 2", 9), word(1, "norm", 8)).startswith("rank 1 is in 'norm'")
    assert said(word(0, "norm", 9), word(1, "pass 2", 8, False, 99), gone=(1,)).startswith(
        "rank 1 is gone: last heard 99 s ago in 'pass 2'"
    )
    assert said(word(0, "norm", 9), size=2).startswith("rank 1 never said a word; rank 0 waited")


def test_who_holds_the_store_stays_until_the_others_have_said_who_is_to_blame(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shoestring.cluster.watch.SILENT_S", 1.0)
    store = HashStore()
    first, late, busy = (Watch(rank, 3, store, 0.4, tmp_path, torch.device("cpu")) for rank in range(3))

    def explain(watch: Watch, after_s: float) -> tuple[str, bool]:
        time.sleep(after_s)
        line = watch.explain(RuntimeError("Timed out"))
        return line, store.check(["told/1"])

    with ThreadPoolExecutor() as pool, busy.phase("save"):
        told = [pool.submit(explain, first, 0.0), pool.submit(explain, late, 0.7)]
        (line, _), (other, _) = (ask.result() for ask in told)
        assert told[0].result()[1], "the holder was gone before rank 1 had its answer"
    for watch in (first, late, busy):
        watch.close()
    assert all(said.startswith("rank 2 is in 'save'") for said in (line, other)), (line, other)


def test_a_stack_that_can_not_be_written_leaves_the_line_of_blame(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shoestring.cluster.watch.SILENT_S", 0.5)
    (tmp_path / "file").write_text("")
    store = HashStore()
    one, other = (Watch(rank, 2, store, 0.4, tmp_path / "file", torch.device("cpu")) for rank in range(2))
    with other.phase("save"):
        line = one.explain(RuntimeError("Timed out"))
    time.sleep(0.5)  # the other finds the alarm
    assert other._thread.is_alive()
    for watch in (one, other):
        watch.close()
    assert line.startswith("rank 1 is in 'save'"), line
    assert "rank 0 could not write its stack: " in line


def lines(results: list[object]) -> list[str]:
    return [str(r) for r in results if isinstance(r, ShoestringError)]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "expert"), [(2, 1), (4, 2)])
def test_a_stalled_rank_is_named_and_every_rank_writes_its_stack(
    size: int, expert: int, tmp_path: Path
) -> None:
    began = time.monotonic()
    asked = {"expert": expert, "deadline_s": 3.0, "folder": tmp_path, "allow": True, "patience_s": 25.0}
    results = run(size, stall, CASE, "sleep", **asked)
    told = lines(results)
    assert told
    assert all(line.startswith("rank 1 is in 'step 2, pass 1 of") for line in told), told
    assert time.monotonic() - began < 50
    for rank in range(size):
        stack = (tmp_path / f"rank-{rank}.txt").read_text()
        assert f"rank {rank} is in 'step 2, pass" in stack or "layer" in stack
    assert "_misbehave" in (tmp_path / "rank-1.txt").read_text()
    assert "_misbehave" not in (tmp_path / "rank-0.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_rank_that_is_gone_is_named(how: str, tmp_path: Path) -> None:
    results = run(2, stall, CASE, how, deadline_s=6.0, folder=tmp_path, allow=True, patience_s=30.0)
    assert isinstance(results[1], Died)
    (line,) = lines(results)
    assert line.startswith("rank 1 is gone: last heard"), line
    assert "in 'step 2, pass 1 of" in line
    assert os.path.exists(tmp_path / "rank-0.txt")
