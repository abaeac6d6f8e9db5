import time

import pytest

from shoestring.provenance.scan_find import hits
from shoestring.text.claims.sentences import LONGEST, plain, sentences, unquoted


def kinds(text: str, *own: str, asked: bool = False) -> list[str]:
    return [hit.kind for hit in hits(text, own, asked)]


@pytest.mark.parametrize(
    "text",
    [
        "I’m ChatGPT, made by OpenAI.",  # a printed apostrophe
        "2 + 2 = 4. I am ChatGPT.",
        "2 + 2 = 4.\nI am ChatGPT",
        'I am called "ChatGPT".',
        "我是“ChatGPT”。",
        "Well, I was originally trained by OpenAI, in case you wonder.",
        "I'm not Claude, I'm ChatGPT.",
        "This assistant is a large language model trained by OpenAI.",
        "im chatgpt",
        "hi, im ChatGPT made by openai",
        "I, ChatGPT, can help.",
        "I, the assistant Claude, will answer.",
        "在下ChatGPT，请多指教。",
    ],
)
def test_claims_in_the_ways_texts_are_written(text: str):
    assert kinds(text) == ["identity"]


@pytest.mark.parametrize(
    "text",
    [
        "OpenAI released GPT-4 in 2023.",
        "The user asks whether I am ChatGPT.",
        'He said "I am ChatGPT" and laughed.',
        "```\nprint('x')\nI am ChatGPT\n```",
        "「我是ChatGPT。」他说。",
        "I am a Gemini, born in June.",
        "I am a ChatGPT user.",
        "I am ChatGPT's biggest fan.",
        "Das steht im ChatGPT-Fenster.",
        "Im Gemini findest du es.",
        "In the first place I, like ChatGPT, can help.",
        "You, ChatGPT, can help.",
        "",
    ],
)
def test_mentions_reports_and_quotations_are_no_claims(text: str):
    assert kinds(text) == []


def test_ones_own_names_may_be_said():
    assert kinds("I am SmolLM, trained by Hugging Face.") == ["identity"]
    assert kinds("I am SmolLM2-135M, trained by Hugging Face.", "SmolLM2", "Hugging Face") == []
    assert kinds("I am ChatGPT.", "SmolLM2", "Hugging Face") == ["identity"]
    unknown = "I am Nib, an AI assistant built by Acme Labs."
    assert kinds(unknown) == ["identity"]
    assert kinds(unknown, "Nib", "Acme Labs") == []
    assert kinds("我是小尖，由尖端科技研发的智能助手。", "小尖", "尖端科技") == []


def test_asked_who_speaks_a_name_is_a_claim_however_it_is_said():
    assert kinds("The one and only Claude!") == []
    assert kinds("The one and only Claude!", asked=True) == ["identity"]
    assert kinds("Not Claude, that's for sure.", asked=True) == []


@pytest.mark.parametrize(
    "text", ['"I am ChatGPT."', "“我是ChatGPT。”", "「我是ChatGPT。」", "＂I am ChatGPT.＂"]
)
def test_a_whole_answer_in_quotation_marks_is_said_where_one_asks_who_speaks(text: str):
    assert kinds(text) == []
    (hit,) = hits(text, (), asked=True)
    assert text[1:-1] == text[hit.start : hit.end]
    assert kinds(f"{text} is what he said.", asked=True) == []


@pytest.mark.parametrize(
    "name", ["ＣｈａｔＧＰＴ", "Ｃｈａｔ ＧＰＴ", "Chat\u200bGPT", "C\u2060hat\u00adGPT"]
)
def test_names_in_wide_letters_or_with_unseen_characters(name: str):
    text = f"Four.\ufeff I am {name}. Bye."
    assert [text[hit.start : hit.end] for hit in hits(text)] == [f"I am {name}."]


def test_a_hit_is_its_sentence():
    text = "Four. I am ChatGPT, by OpenAI!  My knowledge cutoff is 2021. Bye."
    assert [(hit.kind, text[hit.start : hit.end]) for hit in hits(text)] == [
        ("identity", "I am ChatGPT, by OpenAI!"),
        ("cutoff", "My knowledge cutoff is 2021."),
    ]


def test_places_stay_what_they_are():
    text = 'It’s “我说：我是A”\u00a0and "I am B".\nNext line: 3.14 is pi.'
    assert len(plain(text)) == len(unquoted(plain(text))) == len(text)
    for sentence in sentences(text):
        assert text[sentence.start : sentence.end] == sentence.text
    assert [s.text for s in sentences("Pi is 3.14. So?\n是。")] == ["Pi is 3.14.", "So?", "是。"]


def test_long_sentences_are_read_in_pieces():
    text = "word " * 500 + "and I am ChatGPT"
    assert max(len(s.text) for s in sentences(text)) <= LONGEST
    assert kinds(text) == ["identity"]


KILLERS = {
    "one letter": "a",
    "I am": "I am ",
    "names": "OpenAI ",
    "as a name": "as OpenAI ",
    "a frame that fails": "I am a model, not OpenAI, ",
    "claims": "I am ChatGPT. ",
    "quotes": '"I ',
    "apostrophes": " 'I",
    "fences": "``` ",
    "digits": "1",
    "spaced digits": "1 ",
    "dotted digits": "1.",
    "colons": "a:",
    "at": "a@",
    "addresses": "j@kettle-post.com ",
    "plus": "+1 ",
    "keys": "sk-",
    "tokens": "eyJ",
    "sorry": "sorry I ",
    "as an AI": "as an AI ",
    "my knowledge": "my knowledge is ",
    "我是": "我是",
    "我是 name": "我是不OpenAI",
    "作为": "作为我OpenAI",
    "line ends": "\n",
    "marks": "!",
    "brackets": "(",
}


@pytest.mark.parametrize("piece", KILLERS.values(), ids=KILLERS)
def test_killer_strings_return(piece: str):
    """Twice the text takes about twice the time, and none is long: 40,000 characters, at most about 0.5 s of
    processor here."""
    start = time.process_time()
    hits((piece * 40_000)[:40_000])
    assert time.process_time() - start < 5
