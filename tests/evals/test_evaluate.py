"""Against a generator that says what it is told to, and once against the real engine."""

import json
import re

import pyarrow.parquet as pq
import pytest

from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput, Interrupted
from shoestring.evals.ask import ask_all, opening
from shoestring.evals.evaluate import evaluate
from shoestring.evals.item import Item
from shoestring.evals.result import Asking, summarise
from shoestring.evals.statistics import wilson
from shoestring.jobs.evaluate import EvaluateSettings, plan
from shoestring.run import Stage
from shoestring.settings import build
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.text.tool_calls import ToolCall, write_calls
from tiny import Scripted, tiny_lm

KEYS = [
    *("suite", "n", "k", "seed", "correct", "score", "ci95"),
    *("truncated", "unparsed", "tokens", "seconds", "settings"),
]
SUITE = "sums:max_digits=2,max_terms=3"


@pytest.fixture(scope="module")
def lm():
    return tiny_lm()


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def total(prompt: str) -> int:
    """Of the last question in a prompt."""
    return sum(int(n) for n in re.findall(r"\d+", prompt.rsplit("What is", 1)[1].split("?")[0]))


def test_right_answers_score_one_and_the_json_has_its_keys_in_order(lm, judge):
    result = evaluate(lm, SUITE, n=20, generator=Scripted(lm, lambda p, _: str(total(p))), judge=judge)
    assert (result.correct, result.score, result.truncated, result.unparsed) == (20, 1.0, 0, 0)
    assert result.ci95 == wilson(20, 20)
    assert list(result.to_json())[: len(KEYS)] == KEYS
    assert result.to_json()["settings"]["max_tokens"] == 256


def test_questions_are_held_out_problems_in_order_with_their_ids_as_keys(lm, judge):
    generator = Scripted(lm, lambda p, _: "hm")
    result = evaluate(lm, SUITE, n=12, seed=5, generator=generator, judge=judge)
    problems = draw_problems(parse_suite(SUITE), "test", 12, 5)
    assert all(problem.held_out for problem in problems)
    assert (
        [key for _, _, key in generator.asked]
        == [p.id for p in problems]
        == [i.problem for i in result.items]
    )
    assert [item.gold for item in result.items] == [str(p.hidden["answer"]) for p in problems]
    assert result.unparsed == 12
    assert result.score == 0


def test_cut_and_unparsed_replies_are_counted_and_the_score_is_a_lower_bound(lm, judge):
    def say(prompt: str, _: int) -> str:
        answer = total(prompt)
        return {0: str(answer), 1: "No idea.", 2: "x" * 50}[answer % 3]

    result = evaluate(lm, SUITE, n=30, max_tokens=20, generator=Scripted(lm, say), judge=judge)
    golds = [int(item.gold) % 3 for item in result.items]
    assert (result.correct, result.truncated) == (golds.count(0), golds.count(2))
    assert result.unparsed == golds.count(1) + golds.count(2)
    assert result.lower_bound
    assert result.line().startswith(f"{result.suite}: at least {100 * golds.count(0) / 30:.1f} %")
    assert f"{golds.count(2)} of 30 replies were cut" in result.line()


def test_an_answer_inside_thinking_does_not_count_unless_lenient(lm, judge):
    generator = Scripted(lm, lambda p, _: f"<think>\n{total(p)}\n</think>\nI forgot.")
    strict = evaluate(lm, SUITE, n=8, generator=generator, judge=judge)
    lenient = evaluate(lm, SUITE, n=8, lenient=True, generator=generator, judge=judge)
    assert (strict.correct, lenient.correct) == (0, 8)
    assert lenient.settings.lenient


def test_a_decoy_inside_thinking_is_not_the_answer(lm, judge):
    generator = Scripted(
        lm, lambda p, _: f"<think>\nThe answer is 5000.\n</think>\nThe answer is {total(p)}."
    )
    assert evaluate(lm, SUITE, n=8, generator=generator, judge=judge).correct == 8


def test_k_samples_give_mean_accuracy_and_pass_at_k(lm, judge):
    def say(prompt: str, sample: int) -> str:  # even sums: one of four right, odd: never
        return str(total(prompt) if total(prompt) % 2 == 0 and sample == 3 else -1)

    generator = Scripted(lm, say)
    result = evaluate(lm, SUITE, n=20, k=4, temperature=0.7, generator=generator, judge=judge)
    even = sum(int(item.gold) % 2 == 0 for item in result.items[::4])
    assert (result.correct, result.n, result.k, len(result.items)) == (even, 20, 4, 80)
    assert result.score == even / 80
    assert result.pass_at_k == result.pass_at[4].value == even / 20
    assert result.pass_at[1].value == pytest.approx(result.score)
    assert result.pass_at[2].value == pytest.approx(even / 20 / 2)
    assert re.search(r"pass@1 [\d.]+ % \[[\d.]+, [\d.]+\], pass@4 [\d.]+ % \[", result.line())
    assert list(result.to_json()["pass_at"]) == ["1", "2", "4"]
    assert [item.sample for item in result.items[:5]] == [0, 1, 2, 3, 0]
    assert generator.asked[0][1] == SamplingParams(max_tokens=256, temperature=0.7, n=4, seed=0)


def test_how_it_replies_is_kept_beside_what_it_scores(lm, judge):
    """A third in the format, a third thinking in another language, a third plain and wrong."""
    german = "Ich rechne zuerst die Zehner und danach die Einer zusammen."

    def say(prompt: str, _: int) -> str:
        answer = total(prompt)
        right = f"<think>\nFirst I add the tens and then the ones.\n</think>\n{answer}"
        return {0: right, 1: f"<think>\n{german}\n</think>\n{answer}", 2: "-5"}[answer % 3]

    result = evaluate(lm, SUITE, n=30, generator=Scripted(lm, say), judge=judge)
    kinds = [int(item.gold) % 3 for item in result.items]
    shape = result.shape
    assert shape.format == pytest.approx(1 - kinds.count(2) / 30)
    assert shape.mixed == pytest.approx(kinds.count(1) / (30 - kinds.count(2)))  # "-5" has no language
    assert shape.tokens_right is not None
    assert shape.tokens_wrong == 3.0
    assert shape.tokens_right > 40
    assert (shape.cut, shape.unparsed, shape.disagreed) == (0.0, 0.0, 0)
    item = result.items[kinds.index(1)]
    assert (item.format, item.language_thinking, item.language_answer) == (1.0, 0.0, None)
    assert shape.line().startswith(f"replies: {100 * shape.format:.1f} % in the thinking format, ")
    assert result.to_json()["shape"]["mixed"] == shape.mixed


def test_what_the_two_readers_differ_over_is_listed():
    def item(problem: str, disagreed: bool) -> Item:
        return Item(problem, 0, "q", "1", "1", "right", "", 9, 1, "stop", disagreed=disagreed)

    result = summarise("s", 1, 0, Asking(), [item("a", False), item("b", True)], 1.0)
    assert result.to_json()["disagreements"] == ["b/0"]
    assert "1 over which the scorer's two readers differed" in result.shape.line()


def test_few_shot_examples_are_training_problems_in_plain_text(lm, judge):
    generator = Scripted(lm, lambda p, _: str(total(p)))
    for style in ("answer", "reasoning"):
        generator.asked.clear()
        evaluate(
            lm, SUITE, n=2, few_shot=3, few_shot_style=style, system="Add.", generator=generator, judge=judge
        )
        prompt = generator.asked[0][0]
        shown = draw_problems(parse_suite(SUITE), "train", 3, 0)
        assert prompt.startswith("<|im_start|>system\nAdd.<|im_end|>\n<|im_start|>user\n" + shown[0].prompt)
        assert "<think>" not in prompt
        for problem in shown:
            assert not problem.held_out
            first = f"<|im_start|>user\n{problem.prompt}<|im_end|>\n<|im_start|>assistant\n"
            reply = prompt.split(first)[1].split("<|im_end|>")[0]
            assert reply.splitlines()[-1] == str(problem.hidden["answer"])
            assert ("=" in reply) == (style == "reasoning")


def test_a_file_is_shown_with_its_answers_and_has_no_steps_to_show(tmp_path):
    path = tmp_path / "capitals.jsonl"
    rows = [{"prompt": f"Capital {i}?", "answer": f"City {i}", "split": "train"} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = parse_suite(f"{path}:answer=exact")
    turns = opening(suite, Asking(few_shot=2), 0)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        assert answer["content"] == "city " + question["content"].removeprefix("Capital ").removesuffix("?")
    with pytest.raises(BadInput, match="has no worked solutions"):
        opening(suite, Asking(few_shot=2, few_shot_style="reasoning"), 0)


def test_rows_are_kept_for_pairing(lm, judge, tmp_path):
    result = evaluate(lm, SUITE, n=3, generator=Scripted(lm, lambda p, _: str(total(p))), judge=judge)
    result.save_items(tmp_path / "items.parquet")
    row = pq.read_table(tmp_path / "items.parquet").to_pylist()[0]
    assert row["problem"] == result.items[0].problem
    assert (row["outcome"], row["finish_reason"], row["sample"]) == ("right", "stop", 0)
    assert row["reply"] == row["gold"] + "<|im_end|>"
    assert row["prompt_tokens"] == len(row["prompt"]) + 19  # 3 marks, "user", "assistant", newlines


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 4}, "set a temperature"),
        ({"n": 0}, "at least 1"),
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"suite": "smus"}, "did you mean 'sums'"),
    ],
)
def test_what_makes_no_sense_is_refused(lm, change, words):
    with pytest.raises(BadInput, match=words):
        evaluate(lm, **{"suite": SUITE, **change}, generator=Scripted(lm, lambda p, _: ""))


def test_a_stop_leaves_the_generator_empty(lm):
    generator = Scripted(lm, lambda p, _: "a")

    def shown(done: int, total: int, tokens: int) -> None:
        if done == 2:
            raise Interrupted("stop")

    with pytest.raises(Interrupted):
        ask_all(generator, [[1], [2], [3]], SamplingParams(max_tokens=4), ["a", "b", "c"], shown)
    assert generator.waiting == {}
    assert generator.aborted == [1]


def test_timeouts_and_errors_are_said():
    items = [
        Item("p", 0, "q", "1", "1", outcome, "", 9, 1, "stop") for outcome in ("right", "timeout", "error")
    ]
    result = summarise("s", 1, 0, Asking(), items, 1.0)
    assert result.outcomes == {"right": 1, "wrong": 0, "unparsed": 0, "open": 0, "timeout": 1, "error": 1}
    assert "2 not judged" in result.line()


def test_open_prompts_are_no_part_of_a_score():
    def item(problem: str, sample: int, outcome: str) -> Item:
        return Item(problem, sample, "q", "", "r", outcome, "", 1, 4, "stop")

    outcomes = {"a": ("right", "wrong"), "b": ("open", "open"), "c": ("right", "right")}
    items = [item(p, i, said) for p, samples in outcomes.items() for i, said in enumerate(samples)]
    result = summarise("s", 2, 0, Asking(temperature=1.0), items, 1.0)
    without = summarise("s", 2, 0, Asking(temperature=1.0), [i for i in items if i.problem != "b"], 1.0)
    assert (result.n, result.correct, result.score) == (2, 3, 0.75)
    assert (result.ci95, result.pass_at_k, result.tokens) == (without.ci95, 1.0, 4.0)
    assert result.outcomes["open"] == 2
    assert "2 replies to open prompts and not counted" in result.line()
    assert "open" not in without.line()
    with pytest.raises(BadInput, match="no right answers"):
        summarise("s", 2, 0, Asking(), items[2:4], 1.0)


def test_a_suite_of_open_prompts_is_refused(lm, judge):
    with pytest.raises(BadInput, match="'chat' has no right answers"):
        evaluate(lm, "chat", n=2, generator=Scripted(lm, lambda text, sample: "Hi."), judge=judge)
    with pytest.raises(BadInput, match="'chat' has no right answers"):
        plan(build(EvaluateSettings, {"models": {"m": "m"}, "suites": ["chat"], "n": 4}, "eval"))


def test_the_real_engine_gives_the_same_twice(lm, judge, tmp_path):
    with Stage(tmp_path, "eval") as stage:
        args = {"n": 6, "k": 2, "temperature": 1.0, "max_tokens": 12, "judge": judge, "stage": stage}
        first, second = (evaluate(lm, SUITE, **args) for _ in range(2))
    assert [item.reply for item in first.items] == [item.reply for item in second.items]
    assert len({item.reply for item in first.items}) > 6
    assert first.tokens <= 12


def test_a_reply_may_call_and_its_last_turn_is_judged(lm, judge):
    def say(conversation: str, _: int) -> str:
        if "<|im_start|>tool" in conversation:
            return conversation.rsplit("<|im_start|>tool\n", 1)[1].split("<|im_end|>")[0]
        asked = conversation.rsplit("What is ", 1)[1].split("?")[0]
        return write_calls([ToolCall("calculator", asked, "expression")], "tags")

    generator = Scripted(lm, say)
    result = evaluate(lm, SUITE, n=8, max_tokens=400, generator=generator, judge=judge, tools=["calculator"])
    assert (result.correct, result.n, result.unparsed) == (8, 8, 0)
    assert all(item.tool_calls == 1 for item in result.items)
    assert "1.00 tool calls a reply (calculator)" in result.line()
    assert result.to_json()["settings"]["tools"] == ["calculator"]
    assert all("- calculator: exact arithmetic" in text for text, _, _ in generator.asked)
    # told nothing of tools the same replies are answers, and what a call would have said is not looked for
    plain = evaluate(lm, SUITE, n=8, max_tokens=400, generator=Scripted(lm, say), judge=judge)
    assert plain.correct == 0
    assert "tool calls" not in plain.line()


def test_confidence_is_asked_after_the_answer_and_changes_no_score(lm, judge):
    """Right where the sum is even; how sure it is, goes by the sum too, and of a third it says nothing."""

    def say(prompt: str, _: int) -> str:
        asked = prompt.rpartition("<|im_start|>user\n")[2]
        if asked.startswith("How sure"):
            value = total(prompt)
            return {0: "I am 95 % sure.", 1: "40", 2: "No idea."}[value % 3]
        return str(total(prompt) + total(prompt) % 2)

    plain = evaluate(lm, SUITE, n=30, generator=Scripted(lm, say), judge=judge)
    generator = Scripted(lm, say)
    result = evaluate(lm, SUITE, n=30, generator=generator, judge=judge, confidence=True)
    assert (result.score, [i.reply for i in result.items]) == (plain.score, [i.reply for i in plain.items])
    assert plain.calibration is None
    assert plain.to_json()["calibration"] is None
    sums = [total(item.prompt) for item in result.items]
    assert [item.confidence for item in result.items] == [
        {0: 0.95, 1: 0.4, 2: None}[value % 3] for value in sums
    ]
    assert result.calibration is not None
    assert result.calibration.stated == sum(value % 3 != 2 for value in sums)
    assert any(line.startswith("confidence: says it is") for line in result.notes())
    assert len(generator.asked) == 60


def test_an_empty_reply_is_not_asked_for_confidence(lm, judge):
    generator = Scripted(lm, lambda p, _: "")
    result = evaluate(lm, SUITE, n=4, generator=generator, judge=judge, confidence=True)
    assert len(generator.asked) == 4
    assert "confidence: stated in none of 4 replies" in result.notes()
    assert result.to_json()["calibration"] is None
