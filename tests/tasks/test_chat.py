import json
import random

import pytest

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import ProblemStream, draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite, score, score_lenient
from shoestring.text.chat_data import chat_rows
from shoestring.text.message import Reply


def test_there_are_prompts_in_both_languages():
    both, english, chinese = (parse_suite(t).count for t in ("chat", "chat:language=en", "chat:language=zh"))
    assert both is not None
    assert both == (english or 0) + (chinese or 0) >= 120
    assert chinese is not None
    assert chinese >= 30
    problem = draw_problems(parse_suite("chat:language=zh"), "train", 1, 0)[0]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in problem.prompt)
    assert str(parse_suite("chat")) == "chat"


def test_a_tenth_is_held_out_and_never_drawn_for_training():
    suite = parse_suite("chat")
    drawn = {p.key for p in ProblemStream(suite, 0).take(600)}
    tested = {p.key for p in draw_problems(suite, "test", 8, 0)}
    assert not drawn & tested
    assert len(drawn) > 120


def test_no_reply_is_right_or_wrong():
    problem = draw_problems(parse_suite("chat"), "train", 1, 0)[0]
    for reply in (Reply(None, "Hello."), Reply(None, ""), Reply("Hm.", "42", cut=True)):
        for verdict in (score(problem, reply), score_lenient(problem, reply)):
            assert (verdict.outcome, verdict.value) == (Outcome.OPEN, 0.0)
    with Judge(workers=1) as judge:
        assert judge.score([("a", problem, Reply(None, "Hi."))])["a"].outcome is Outcome.OPEN


def test_there_is_nothing_to_copy():
    suite = parse_suite("chat")
    problem = draw_problems(suite, "train", 1, 0)[0]
    with pytest.raises(BadInput, match="no right answer"):
        suite.family.worked(problem, random.Random(0))
    with pytest.raises(BadInput, match="language"):
        parse_suite("chat:language=fr")


def test_rows_read():
    rows = chat_rows()
    assert sum(bool(row.answer) for row in rows) >= 80
    assert {row.language for row in rows} == {"en", "zh"}


def test_a_file_of_open_prompts_needs_no_answers(tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Talk about {i}."}) + "\n" for i in range(30)))
    suite = parse_suite(f"{path}:answer=open")
    assert suite.is_open
    problem = draw_problems(suite, "train", 1, 0)[0]
    for verdict in (score(problem, Reply(None, "Yes.")), score_lenient(problem, Reply(None, "Yes."))):
        assert (verdict.outcome, verdict.value) == (Outcome.OPEN, 0.0)
    assert not parse_suite("sums").is_open
    with pytest.raises(BadInput, match="no answer"):
        draw_problems(parse_suite(str(path)), "train", 1, 0)
