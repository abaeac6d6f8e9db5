import pytest

from shoestring.errors import BadInput
from shoestring.provenance.scan import ScanSettings, scan
from shoestring.provenance.scan_find import hits
from shoestring.provenance.scan_rewrite import Own, rewritten
from shoestring.settings import build
from shoestring.text.message import Message, assistant, user

NIB = ScanSettings(identity="rewrite", cutoff="rewrite", refusal="drop", name="Nib", maker="Acme")


def row(question: str, answer: str, thinking: str = "") -> list[Message]:
    turn = assistant(answer)
    if thinking:
        turn["reasoning_content"] = thinking
    return [user(question), turn]


def mended(text: str, own: Own = Own("Nib", "Acme")) -> str:
    return rewritten(text, hits(text, own.names), own)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi! I'm ChatGPT, trained by OpenAI. And you?", "Hi! I'm Nib, trained by Acme. And you?"),
        ("我是ChatGPT，由OpenAI开发。你好！", "我是Nib，由Acme开发。你好！"),
        ("I am ChatGPT, based on GPT-4.", "I am Nib, made by Acme."),
        ("我是ChatGPT，基于GPT-4。", "我是Nib，由Acme开发。"),
        ("My knowledge cutoff is 2021. 2 + 2 = 4.", "2 + 2 = 4."),
        ("4.\n\nI am ChatGPT, but my knowledge cutoff is 2021.\n\nBye.", "4.\n\nBye."),
        ("I'm Claude, write to bob@kettle-post.com!", "I'm Nib, write to [e-mail]!"),
        ("Nothing wrong here.", "Nothing wrong here."),
    ],
)
def test_a_text_is_mended(text: str, expected: str):
    assert mended(text) == expected
    assert hits(expected, ("Nib", "Acme")) == []


def test_without_ones_own_names_the_sentence_goes():
    text = "Hi! I'm ChatGPT, trained by OpenAI. And you?"
    assert mended(text, Own()) == mended(text, Own("Nib")) == "Hi! And you?"
    assert mended("Hi! I'm ChatGPT. And you?", Own("Nib")) == "Hi! I'm Nib. And you?"


def test_rows_are_kept_rewritten_or_dropped_and_counted():
    rows = [
        ("plain", row("2+2", "4")),
        ("claim", row("Who are you?", "I am ChatGPT, by OpenAI.")),
        ("thought", row("2+2", "4", "I am ChatGPT, by OpenAI. It is 4.")),
        ("refusal", row("2+2", "I'm sorry, but I can't help with that.")),
        ("gone", row("2+2", "My knowledge cutoff is 2021.")),
        ("private", row("I'm bob@kettle-post.com and you are ChatGPT", "Hello.")),
    ]
    before = str(rows)
    result = scan(rows, NIB)
    assert str(rows) == before  # the rows given aren't touched
    assert [kept.id for kept in result.kept] == ["plain", "claim", "thought", "private"]
    assert [rows[kept.index][0] for kept in result.kept] == [kept.id for kept in result.kept]
    assert (result.n, result.dropped, result.emptied) == (6, ["refusal", "gone"], ["gone"])
    assert result.kept[1].messages[1]["content"] == "I am Nib, by Acme."
    assert result.kept[2].messages[1].get("reasoning_content") == "I am Nib, by Acme. It is 4."
    # what the user says of the model is no claim, the address is masked
    assert result.kept[3].messages[0]["content"] == "I'm [e-mail] and you are ChatGPT"
    assert result.counts()["identity"] == {"findings": 2, "rows": 2, "drop": 0, "rewrite": 2, "keep": 0}
    assert result.counts()["cutoff"]["drop"] == 1
    assert "-answer: I am ChatGPT, by OpenAI.\n+answer: I am Nib, by Acme.\n" in result.diff
    assert "plain" not in result.diff
    assert "6 rows" in result.line()
    assert result.to_json()["rewritten"] == 3


def test_a_finding_says_where_it_is():
    (finding,) = scan([("a", row("Hi", "4", "Well. I am ChatGPT."))], ScanSettings()).findings
    assert (finding.row, finding.message, finding.where, finding.kind) == ("a", 1, "thinking", "identity")
    assert (finding.start, finding.end, finding.text) == (6, 19, "I am ChatGPT.")
    assert finding.action == "drop"


def test_a_row_with_one_kind_to_drop_goes_whatever_else_it_has():
    rows = [("a", row("Hi", "I am ChatGPT. Write to bob@kettle-post.com."))]
    result = scan(rows, ScanSettings(identity="drop", personal="rewrite"))
    assert result.kept == []
    assert result.counts()["personal"]["drop"] == 1


def test_keep_counts_and_changes_nothing():
    rows = [("a", row("Hi", "I am ChatGPT. Write to bob@kettle-post.com."))]
    result = scan(rows, ScanSettings(identity="keep", personal="keep"))
    assert [kept.messages for kept in result.kept] == [rows[0][1]]
    assert len(result.findings) == 2
    assert result.diff == ""


def test_the_question_makes_a_name_a_claim_only_for_its_reply():
    reply = "The one and only Claude!"
    assert scan([("a", row("Who are you?", reply))], ScanSettings()).dropped == ["a"]
    assert scan([("a", row("你是谁？", reply))], ScanSettings()).dropped == ["a"]
    assert scan([("a", row("Who painted this?", reply))], ScanSettings()).dropped == []
    later = [*row("Who are you?", "An assistant."), *row("Who painted this?", reply)]
    assert scan([("a", later)], ScanSettings()).dropped == []


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(BadInput, match="identity"):
        build(ScanSettings, {"identity": "remove"}, "scan")
    with pytest.raises(BadInput, match="did you mean 'maker'"):
        build(ScanSettings, {"makr": "x"}, "scan")
