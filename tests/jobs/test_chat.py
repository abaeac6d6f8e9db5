"""A chat driven by lines, against a model that says what it is told to, and through a real pipe."""

import io
import signal
import subprocess
import sys

import pytest

from shoestring.jobs.chat import Chat, ChatSettings, Screen, read_lines
from tiny import Scripted, tiny_lm


class Slow(Scripted):
    """Raises Ctrl-C after so many tokens of a reply."""

    stop_after = 5
    closed = False

    def stream(self, prompt, params, key=""):
        try:
            for i, token in enumerate(super().stream(prompt, params, key)):
                yield token
                if i + 1 == self.stop_after:
                    signal.raise_signal(signal.SIGINT)
        finally:
            self.closed = True


def talk(lines: str, say, kind=Scripted, window: int = 2048, colour: bool = False, **values):
    lm = tiny_lm(window=window)
    engine, out = kind(lm, say), io.StringIO()
    chat = Chat(lm, engine, ChatSettings(model="tiny", **values), Screen(out, colour))
    counts = chat.run(read_lines(io.StringIO(lines)))
    return out.getvalue(), chat, engine, counts


def test_replies_are_shown_and_remembered():
    text, chat, engine, counts = talk("Hi\n\nBye\n", lambda p, _: f"turn {p.count('user')}.")
    assert "turn 1.\n" in text
    assert "turn 2.\n" in text
    assert [m["content"] for m in chat.messages] == ["Hi", "turn 1.", "Bye", "turn 2."]
    assert counts.turns == 2
    assert engine.asked[0][2] != engine.asked[1][2]  # a key of its own for each turn's random numbers


def test_the_first_line_says_what_it_is():
    text, *_ = talk("", lambda p, _: "")
    assert text.splitlines()[0] == (
        "tiny: as it was taken; base HuggingFaceTB/SmolLM2-135M-Instruct, 4-bit copy; licence Apache-2.0"
    )


def test_thinking_is_dimmed_and_no_tag_is_shown():
    def say(prompt: str, _: int) -> str:
        return "<think>\n2+2=4\n</think>\n4"

    text, chat, *_ = talk("2+2?\n", say, colour=True)
    dimmed = "".join(f"\x1b[2m{c}\x1b[0m" for c in "2+2=4")
    assert f"{dimmed}\n\n4\n" in text
    assert "think>" not in text
    plain, *_ = talk("2+2?\n", say)
    assert "(thinking) 2+2=4\n\n4\n" in plain
    assert "\x1b" not in plain
    assert chat.messages[-1] == {"role": "assistant", "content": "4", "reasoning_content": "2+2=4"}


def test_unclosed_thinking_is_closed_in_the_history():
    def say(prompt: str, _: int) -> str:
        return "<think>\nhm, hm" + "m" * 99 if prompt.count("user") == 1 else "Yes."

    text, chat, engine, _ = talk("One?\nTwo?\n", say, max_tokens=20)
    assert "cut at --max-tokens 20" in text
    assert chat.messages[1]["content"] == ""
    assert "<think>" not in engine.asked[1][0]
    assert chat.messages[3]["content"] == "Yes."


def test_ctrl_c_stops_a_reply_and_not_the_program():
    before = signal.getsignal(signal.SIGINT)  # ignored in a process that a script runs in the background
    text, chat, engine, counts = talk("Go\nAgain\n", lambda p, _: "abcdefghij", kind=Slow)
    assert text.count("stopped]") == 2
    assert chat.messages[1]["content"] == "abcdef"  # the token that was on its way
    assert counts.turns == 2
    assert engine.closed
    assert signal.getsignal(signal.SIGINT) is before


def test_commands():
    text, chat, engine, counts = talk(
        "Hi\n/stats\n/reset\nYo\n/nonsense\n/help\n/exit\nNever\n", lambda p, _: "ok", system="Be brief."
    )
    assert "1 replies, 3 tokens at " in text
    assert "no command /nonsense; /reset" in text
    assert engine.asked[1][0].count("<|im_start|>user") == 1  # forgotten
    assert engine.asked[1][0].startswith("<|im_start|>system\nBe brief.")
    assert counts.turns == 2
    assert "Never" not in [m["content"] for m in chat.messages]


def test_warnings_near_the_end_of_the_context_and_a_line_past_it():
    text, chat, _, counts = talk("a\nb\n" + "c" * 300 + "\n", lambda p, _: "x" * 50, window=160)
    assert text.count("the context is") == 1
    assert "the context is filling up (89%)" in text
    assert "and the model reads at most 160: /reset, or write less" in text
    assert counts.turns == 2
    assert len(chat.messages) == 4  # what didn't fit isn't kept
    text, *_ = talk("a\nb\n", lambda p, _: "x" * 50, window=146)
    assert "the context is almost full (98%)" in text


def test_an_empty_reply_is_said():
    text, *_ = talk("Hi\n", lambda p, _: "")
    assert "(no text)" in text


@pytest.mark.slow
def test_through_a_pipe(tmp_path):
    tiny_lm().save(tmp_path / "tiny")
    done = subprocess.run(
        [sys.executable, "-m", "shoestring", "chat", str(tmp_path / "tiny"), "--max-tokens", "8"],
        input="Hello\n/stats\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny: as it was taken")
    assert "1 replies, " in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_a_signal_during_a_reply_leaves_the_program_running(tmp_path):
    tiny_lm().save(tmp_path / "tiny")
    program = subprocess.Popen(
        [sys.executable, "-m", "shoestring", "chat", str(tmp_path / "tiny"), "--max-tokens", "1900"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdout.readline(), program.stdout.readline()  # ready
    program.stdin.write("Hello\n")
    assert program.stdout.read(1)  # the reply has begun
    program.send_signal(signal.SIGINT)
    program.stdin.write("/stats\n/exit\n")
    rest, _ = program.communicate(timeout=120)
    assert program.returncode == 0
    assert "1 replies, " in rest
