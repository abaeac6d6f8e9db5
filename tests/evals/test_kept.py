"""Evaluations on disk: judged again, compared, and refused where they can't be."""

import dataclasses
import json
import re

import pyarrow.parquet as pq
import pytest

from shoestring.errors import BadInput
from shoestring.evals.compare import compare, compare_all
from shoestring.evals.evaluate import evaluate
from shoestring.evals.kept import Kept, faults, read_kept
from shoestring.evals.rescore import rescore
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import _benchmark
from tiny import Scripted, tiny_lm

SUITE = "sums:max_digits=2,max_terms=3"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def total(prompt: str) -> int:
    return sum(int(n) for n in re.findall(r"\d+", prompt.rsplit("What is", 1)[1].split("?")[0]))


@pytest.fixture(scope="module")
def keep(judge, tmp_path_factory):
    """keep(name, say, ...) evaluates and writes it as the job does."""

    def made(name: str, say, suite: str = SUITE, n: int = 40, **values) -> Kept:
        folder = tmp_path_factory.mktemp(name)
        lm = tiny_lm()
        result = evaluate(lm, suite, n=n, generator=Scripted(lm, say), judge=judge, **values)
        result.save_items(folder / "u.parquet")
        unit = {**result.to_json(), "model": name, "variant": "", "rows": "u.parquet"}
        (folder / "u.json").write_text(json.dumps(unit))
        return read_kept(folder)[0]

    return made


@pytest.fixture(scope="module")
def good(keep):
    return keep("good", lambda p, _: str(total(p)))


@pytest.fixture(scope="module")
def odd(keep):
    return keep("odd", lambda p, _: str(total(p) if total(p) % 2 else -1))


def test_judged_again_nothing_changes(odd, judge):
    again = rescore(odd, judge)
    assert again.changed == ()
    assert again.result.correct == odd.receipt.correct
    assert again.result.receipt == odd.receipt


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"score": 0.99}, "score is 0.99, and"),
        ({"correct": 40}, "correct is 40, and its receipt says"),
        ({"n": 41}, "n is 41, and its receipt says 40"),
    ],
)
def test_a_figure_that_was_touched_up_is_found(odd, change, fault):
    assert faults(odd) == []
    (found,) = faults(dataclasses.replace(odd, values={**odd.values, **change}))
    assert found.startswith(fault)


def test_a_verdict_that_changed_is_listed(odd, judge, tmp_path):
    table = pq.read_table(odd.path.parent / "u.parquet").to_pylist()
    table[0]["outcome"] = {"right": "wrong", "wrong": "right"}[table[0]["outcome"]]
    (tmp_path / "u.json").write_text(json.dumps(odd.values))
    pq.write_table(pq.read_table(odd.path.parent / "u.parquet").from_pylist(table), tmp_path / "u.parquet")
    (kept,) = read_kept(tmp_path / "u.json")
    (changed,) = rescore(kept, judge).changed
    assert changed.line().startswith(f"{table[0]['problem']}/0: {table[0]['outcome']}, now ")


def test_fewer_samples_can_be_taken_and_more_can_not(keep, judge):
    kept = keep("four", lambda p, s: str(total(p) if s == 3 else -1), n=5, k=4, temperature=0.5)
    assert rescore(kept, judge).result.correct == 5
    assert rescore(kept, judge, k=2).result.correct == 0
    with pytest.raises(BadInput, match="4 replies were drawn of each problem, so k = 5 can't be told"):
        rescore(kept, judge, k=5)


def test_other_problems_are_refused(good, judge):
    with pytest.raises(BadInput, match=r"40 of 40 problems of sums:.* are not those that were asked"):
        rescore(good, judge, suite="sums:max_digits=3,min_terms=3,max_terms=3")


def test_better_with_the_flipped_items_and_their_texts(good, odd):
    found = compare(good, odd)
    flipped = [item for item in odd.items if item.outcome != "right"]
    assert [one.problem for one in found.flipped] == [item.problem for item in flipped]
    assert all(one.to_a and one.b.reply.startswith("-1") for one in found.flipped)
    assert (found.pair.only_a, found.pair.only_b) == (len(flipped), 0)
    assert found.verdict == "better"
    assert compare(odd, good).verdict == "worse"
    assert found.settings == ()
    assert "of the same settings" in found.tokens
    json.dumps(found.to_json())


def test_never_better_where_the_interval_holds_zero(good, keep):
    once = keep("once", lambda p, _: "-1" if total(p) == total(good.items[0].prompt) else str(total(p)))
    found = compare(good, once)
    assert found.pair.difference > 0
    assert not found.pair.ci95.excludes_zero
    assert found.verdict == "no difference shown"
    assert "better" not in found.line()


def test_a_side_that_was_cut_loses_nothing(good, keep):
    cut = keep("cut", lambda p, _: "x" * 50, max_tokens=20)
    found = compare(good, cut)
    assert found.verdict == "not told: B's replies were cut"
    assert found.settings[0] == "max_tokens: 256 and 20"


def test_several_samples_pair_by_problem(keep):
    a = keep("a", lambda p, s: str(total(p)), n=12, k=2, temperature=0.5)
    b = keep("b", lambda p, s: str(total(p) if s else -1), n=12, k=2, temperature=0.5)
    found = compare(a, b)
    assert (found.pair.difference, len(found.flipped)) == (0.5, 12)
    assert found.flipped[0].b.outcome == "wrong"


def test_other_problems_do_not_pair(good, keep):
    other = keep("other", lambda p, _: "1", seed=3)
    with pytest.raises(BadInput, match=r"the problems differ .*; seed: 0 and 3"):
        compare(good, other)
    hard = keep("hard", lambda p, _: "1", suite="sums:max_digits=3")
    with pytest.raises(BadInput, match="nothing to compare"):
        compare_all([good], [hard])
    with pytest.raises(BadInput, match="several evaluations of"):
        compare_all([good, good], [good])


def test_several_suites_get_holms_correction(good, odd, keep):
    pairs = [keep(name, lambda p, _: str(total(p)), suite="sums:max_digits=3", n=6) for name in ("c", "d")]
    found = compare_all([good, pairs[0]], [odd, pairs[1]])
    assert found[0].adjusted == pytest.approx(2 * found[0].pair.p_value)
    assert found[1].verdict == "no difference shown"


def test_what_is_no_evaluation(tmp_path):
    with pytest.raises(BadInput, match="no such evaluation"):
        read_kept(tmp_path / "none")
    with pytest.raises(BadInput, match="holds no evaluation with a receipt"):
        read_kept(tmp_path)
    (tmp_path / "old.json").write_text('{"suite": "sums", "rows": "x.parquet"}')
    with pytest.raises(BadInput, match="no receipt"):
        read_kept(tmp_path / "old.json")
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(BadInput, match="is no kept evaluation"):
        read_kept(tmp_path / "text.json")


def test_code_and_instructions_are_kept_and_judged_again(judge, tmp_path):
    """What is long stands in the kept rows as its hash, and a changed test is another problem."""
    row = {
        "question_content": "Say 5.",
        "public_test_cases": '[{"input": "", "output": "5"}]',
        "metadata": "{}",
    }
    rule = {"prompt": "Say so.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    for name, rows, say in (
        ("livecodebench", row, "```python\nprint(5)\n```"),
        ("ifeval", rule, "So, so."),
    ):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps(rows) + "\n")
        suite = f"{name}:{path}" + (":tests=public" if name == "livecodebench" else "")
        lm = tiny_lm()
        result = evaluate(lm, suite, n=1, generator=Scripted(lm, lambda p, _, say=say: say), judge=judge)
        result.save_items(tmp_path / f"{name}.parquet")
        unit = {**result.to_json(), "model": "m", "variant": "", "rows": f"{name}.parquet"}
        (tmp_path / f"{name}.json").write_text(json.dumps(unit))
        (kept,) = read_kept(tmp_path / f"{name}.json")
        assert len(kept.items[0].gold) < 100
        assert rescore(kept, judge).changed == ()
        other = json.dumps(rows).replace("punctuation:no_comma", "startend:quotation")
        path.write_text(other.replace('\\"5\\"', '\\"6\\"') + "\n")
        _benchmark.cache_clear()
        with pytest.raises(BadInput, match=r"1 of 1 problems of .* are not those that were asked"):
            rescore(kept, judge)
    assert result.means == {
        **{"strict": 0.0, "loose": 0.0, "instructions": 1.0, "followed": 0.0, "followed_loosely": 0.0}
    }
    assert any("prompts 0.0 % strict, 0.0 % loose; instructions 0.0 %" in note for note in result.notes())
