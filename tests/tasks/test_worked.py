import pytest

from shoestring.errors import BadInput
from shoestring.tasks.base import Outcome
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.suite import parse_suite, score
from shoestring.tasks.tools import Calculator, Toolbox
from shoestring.tasks.worked import calculated_messages, worked_messages
from shoestring.text.message import Reply


@pytest.mark.parametrize("family", ["sums", "equations", "countdown", "letters"])
def test_a_worked_solution_is_right_and_fixed_by_its_key(family):
    for problem in draw_problems(parse_suite(family), "train", 5, seed=0):
        asked, told = worked_messages(problem, "k")
        assert asked == {"role": "user", "content": problem.prompt}
        assert told["role"] == "assistant"
        reply = Reply(told.get("reasoning_content"), told["content"])
        assert reply.reasoning
        assert score(problem, reply).outcome is Outcome.RIGHT
        assert worked_messages(problem, "k") == [asked, told]


def test_a_system_prompt_comes_first():
    (problem,) = draw_problems(parse_suite("sums"), "train", 1, seed=0)
    messages = worked_messages(problem, "k", system="Be brief.")
    assert [m["role"] for m in messages] == ["system", "user", "assistant"]
    assert messages[1:] == worked_messages(problem, "k")


def test_a_file_has_none(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n')
    (problem,) = draw_problems(parse_suite(f"{path}:test=all"), "test", 1, seed=0)
    with pytest.raises(BadInput, match="no worked solutions"):
        worked_messages(problem, "k")


@pytest.mark.parametrize("suite", ["sums:subtract=true", "products", "sums:language=zh"])
def test_a_solution_by_calculator_is_right(suite):
    for problem in draw_problems(parse_suite(suite), "train", 5, seed=0):
        system, asked, called, result, told = calculated_messages(problem, "k", "Be brief.")
        assert [m["role"] for m in (system, asked, called, result, told)] == [
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
        assert asked["content"] == problem.prompt
        (call,) = called.get("tool_calls", [])
        made = Toolbox((Calculator(),)).run(call)
        assert (made.result, made.failed) == (result["content"], False)
        assert score(problem, Reply(None, told["content"])).outcome is Outcome.RIGHT


def test_families_without_one_say_so():
    (problem,) = draw_problems(parse_suite("letters"), "train", 1, seed=0)
    with pytest.raises(BadInput, match="sums and products have"):
        calculated_messages(problem, "k")
