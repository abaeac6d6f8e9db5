"""Kept rollouts read, filtered and compared."""

import random
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_folders import RECIPE, begin, kept_group, unit
from shoestring.errors import BadInput
from shoestring.report.changes import Phrase, changes, phrases, side
from shoestring.report.rollout_filter import Wanted, choose, parse_steps, steps_text
from shoestring.report.rollout_folders import rollout_folders
from shoestring.report.rollouts import Kept, by_group, visible
from shoestring.rl.store import SCHEMA


def kept(**changed) -> Kept:
    values = {"step": 1, "group": "0/p", "problem": "p", "suite": "sums", "prompt": "What is 1 + 1?"}
    return Kept(**values | {"completion": "2", "outcome": "right", "value": 1.0} | changed)


def test_a_step_is_read_as_it_was_written(tmp_path):
    folder = begin(tmp_path / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    stage.rollouts(4, kept_group(4, 3, "1+1", [("<think>two</think>2<|im_end|>", 1.0), ("3", None)]), SCHEMA)
    (rollouts,) = rollout_folders(folder.path)
    assert (rollouts.title, rollouts.steps, rollouts.num_samples) == ("zero", (4,), 2)
    assert rollouts.num_bytes == rollouts.file(4).stat().st_size
    first, second = rollouts.read(4)
    assert (first.group, first.problem, first.reasoning, first.answer) == ("3/1+1", "1+1", "two", "2")
    assert (first.reward, first.live, first.parts, first.version) == (1.0, False, {"format": 0.25}, 3)
    assert (second.outcome, second.reward, second.advantage) == ("timeout", None, None)
    # the stage's own folder does as well
    assert rollout_folders(stage.folder)[0].read(4) == [first, second]


def test_files_of_older_runs_are_read(run_folder):
    rollouts = next(r for r in rollout_folders(run_folder) if r.title == "zero")
    rows = rollouts.read(20)
    assert rows[0].group == rows[0].prompt
    assert rows[0].reward is rows[0].live is None
    assert len(by_group(rows)) == len({row.prompt for row in rows})


def test_a_broken_file_is_one_line(tmp_path):
    folder = begin(tmp_path / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    stage.rollouts(1, kept_group(1, 0, "p", [("a", 1.0)]), SCHEMA)
    (stage.folder / "rollouts/step-000001.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BadInput, match=r"step-000001.parquet can't be read"):
        rollout_folders(folder.path)[0].read(1)


@pytest.mark.parametrize(
    ("completion", "reasoning", "answer", "pieces"),
    [
        ("2<|im_end|>", None, "2", [("answer", "2"), ("", "<|im_end|>")]),
        (
            "<think>\nt\n</think>\nt<|im_end|>",
            "t",
            "t",
            [("", "<think>\n"), ("think", "t"), ("", "\n</think>\n"), ("answer", "t"), ("", "<|im_end|>")],
        ),
        ("on and on", "on and on", "", [("think", "on and on")]),  # the prompt opened it
        ("</think>k", None, "k", [("", "</"), ("", "k")]),
        ("<think>5</think>", "5", "", [("", "<think>"), ("think", "5"), ("", "</think>")]),
        ("other text", "nowhere", "to be found", [("", "other text")]),
        ("", None, "", []),
    ],
)
def test_thinking_and_answer_are_told_apart(completion, reasoning, answer, pieces):
    found = kept(completion=completion, reasoning=reasoning, answer=answer).pieces
    assert "".join(text for _, text in found) == completion
    if completion != "</think>k":
        assert found == pieces


@given(st.text("<think>/ab\n", max_size=30), st.text("<think>/ab\n", max_size=8), st.text("ab/<", max_size=4))
def test_pieces_always_add_up(completion, reasoning, answer):
    row = kept(completion=completion, reasoning=reasoning, answer=answer)
    assert "".join(text for _, text in row.pieces) == completion


ROWS = [
    kept(group="0/ab12", problem="ab12", tokens=9, reward=1.0, advantage=0.5, live=True),
    kept(group="0/ab12", problem="ab12", tokens=3, reward=None, outcome="timeout", live=True),
    kept(
        group="1/cd",
        problem="cd",
        prompt="Spell ABLE",
        tokens=7,
        reward=0.0,
        outcome="wrong",
        live=False,
        cut=True,
    ),
]


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({}, [0, 1, 2]),
        ({"problem": "ab"}, [0, 1]),  # an id's beginning wins over text in a prompt
        ({"problem": "abl"}, [2]),
        ({"problem": "1/c"}, [2]),
        ({"prompt": "what"}, [0, 1]),
        ({"verdict": "cut"}, [2]),
        ({"verdict": "timeout"}, [1]),
        ({"live": False}, [2]),
        ({"live": True, "sort": "length"}, [0, 1]),
        ({"sort": "length"}, [0, 2, 1]),
        ({"sort": "reward"}, [0, 2, 1]),  # none comes last
        ({"prompt": "nothing"}, []),
    ],
)
def test_what_is_wanted_is_chosen(wanted, places):
    assert choose(ROWS, Wanted(**wanted)) == [ROWS[i] for i in places]


@pytest.mark.parametrize("wanted", [{"verdict": "rihgt"}, {"sort": "rewards"}])
def test_a_slip_is_named(wanted):
    with pytest.raises(BadInput, match=r"did you mean '(right|reward)'"):
        Wanted(**wanted)


def test_steps():
    steps = [1, 5, 10, 20]
    assert parse_steps("", steps, "zero") == [20]
    assert parse_steps("5", steps, "zero") == [5]
    assert parse_steps("2:10", steps, "zero") == [5, 10]
    assert parse_steps(":5", steps, "zero") == [1, 5]
    assert parse_steps("10:", steps, "zero") == [10, 20]
    for text in ("7", "11:19", "10:5"):
        with pytest.raises(BadInput, match=f"step {text} of zero isn't kept; kept are 1, 5, 10, 20"):
            parse_steps(text, steps, "zero")
    with pytest.raises(BadInput, match="write a step as 7"):
        parse_steps("last", steps, "zero")
    assert steps_text(range(1, 41)) == "1 to 40"
    assert steps_text(range(0, 400, 5)) == "0, 5, 10, 15, 20, 25, ... 385, 390, 395"


def test_no_sign_steers_the_terminal():
    assert visible("a\x1b[2Jb\tc\nd\x07\r\x7f\x9b") == "a␛[2Jb\tc\nd␇␍␡\ufffd"


def test_phrases_are_counted_once_a_sample_and_numbers_are_alike():
    assert phrases("<think>It's 12.5 It's") == {
        *("<think>", "it's", "#", "<think> it's", "it's #", "# it's"),
        *("<think> it's #", "it's # it's"),
    }
    assert {"我", "我 们", "们"} <= phrases("我们")


def test_what_changed_is_found():
    rng = random.Random(0)

    def said_at(step, wait, right):
        said = [
            kept(
                step=step,
                group=f"{i // 4}/p",
                problem=f"p{i // 4 + step}",
                completion=f"so {rng.randrange(99)} {'let me check' if i < wait else 'it sounds fine'}",
                outcome="right" if i < right else "wrong",
                tokens=10 * step,
                reward=float(i < right),
                live=i < 8,
            )
            for i in range(40)
        ]
        return [*said, replace(said[0], suite="letters")] if step == 2 else said

    found = changes(side(said_at(1, 2, 10)), side(said_at(2, 30, 20)))
    before, after = found.suites["sums"]
    assert (before.samples, before.groups, before.tokens, before.reward) == (40, 10, 10.0, 0.25)
    assert (after.shares, after.tokens) == ({"right": 0.5, "wrong": 0.5, "cut": 0.0}, 20.0)
    assert (after.live, found.counted) == (0.2, (40, 41))
    assert found.suites["letters"][0] is None
    assert found.more[0].text == "let me check"
    assert (found.more[0].before, found.more[0].after) == (2, 31)
    assert found.less[0] == Phrase("it sounds fine", 38, 10)
    assert len(found.more) == len(found.less) == 1  # pieces of a phrase that tell the same are left out
    assert found.problems == tuple(f"p{i}" for i in range(2, 11))


def test_nothing_stands_out_among_equals():
    rows = [kept(completion=f"{'a' if i % 2 else 'b'} is it") for i in range(30)]
    found = changes(side(rows), side(rows))
    assert found.more == found.less == ()


def test_old_columns_are_enough(tmp_path):
    folder = begin(tmp_path / "r")
    stage = unit(folder, 1, RECIPE["stage"][0])
    own = stage.folder / "rollouts"
    own.mkdir()
    rows = [{"prompt": "p", "completion": "c", "outcome": "wrong", "value": 0.0}]
    pq.write_table(pa.Table.from_pylist(rows), own / "step-000002.parquet")
    (row,) = rollout_folders(folder.path)[0].read(2)
    assert changes(side([row]), side([row])).suites[""][0].reward is None
