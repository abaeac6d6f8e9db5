"""Which language words are in."""

import pytest

from shoestring.errors import BadInput
from shoestring.tasks.language import check_target, detect, share_in, words

SAID = {
    "en": [
        "Okay, so I need the sum of 17 and 5. First, 17 plus 3 is 20. Then I add 2 more, so it is 22.",
        "Wait, let me check. If x = 5 then 3x + 4 = 19, which matches.\nSo the answer is 5.",
    ],
    "de": [
        "Also, ich muss die Summe von 17 und 5 finden. Zuerst 17 plus 3 ist 20. Dann noch 2, also 22.",
        "Alice hat drei Äpfel und Bob hat zwei. Zusammen haben sie fünf Äpfel.",
    ],
    "fr": ["Je dois trouver la somme de 17 et 5. D'abord 17 plus 3 fait 20. Ensuite j'ajoute 2, donc 22."],
    "es": ["Necesito encontrar la suma de 17 y 5. Primero 17 más 3 es 20. Luego sumo 2, entonces 22."],
    "zh": ["好的，我需要求17和5的和。首先17加3等于20，然后再加2，所以是22。"],
    "ja": ["17と5の和を求めます。まず17足す3は20です。次に2を足すので22になります。"],
    "ko": ["17과 5의 합을 구해야 합니다. 먼저 17에 3을 더하면 20입니다."],
    "ru": ["Мне нужно найти сумму 17 и 5. Сначала 17 плюс 3 равно 20. Потом прибавлю 2, значит 22."],
    "uk": ["Мені потрібно знайти суму 17 і 5. Спочатку 17 плюс 3 дорівнює 20, потім ще 2."],
    "ar": ["أحتاج إلى إيجاد مجموع 17 و 5. أولا 17 زائد 3 يساوي 20."],
    "he": ["אני צריך למצוא את הסכום של 17 ו 5."],
    "el": ["Πρέπει να βρω το άθροισμα του 17 και του 5."],
    "th": ["ฉันต้องหาผลรวมของ 17 และ 5"],
    "hi": ["मुझे 17 और 5 का योग ज्ञात करना है। पहले 17 में 3 जोड़ें।"],
}
ALL = [(language, text) for language, texts in SAID.items() for text in texts]


@pytest.mark.parametrize(("language", "text"), ALL)
def test_a_text_is_all_in_its_own_language_and_hardly_in_another(language, text):
    assert detect(text) == language
    assert share_in(text, language) == 1.0
    for other in ("en", "de", "zh", "ru"):
        if other != language:
            assert (share_in(text, other) or 0.0) < 0.2  # Japanese holds characters that Chinese has


@pytest.mark.parametrize(
    ("text", "target", "share"),
    [
        ("首先我们 compute the total 然后加二。", "zh", 8 / 11),  # 8 characters, 3 English words
        ("首先我们 compute the total 然后加二。", "en", 3 / 11),
        ("Alice 有三个苹果，x 等于 sin y。", "zh", 1.0),  # names and symbols are written so in any language
        ("The Total Of Two Numbers 是", "zh", 1 / 6),  # but a sentence in capitals is no name
        ("First we add the tens. Dann addieren wir die Einer dazu.", "en", 5 / 11),
        ("First we add the tens. Dann addieren wir die Einer dazu.", "de", 6 / 11),
        ("`int total;` $\\text{sum} = 12$ https://a.org/what \\boxed{12} <answer>12</answer>", "zh", None),
        ("22+42=62+2=64", "en", None),
        ("", "en", None),
        ("Хорошо α β, let us add them.", "ru", 1 / 4),  # "us" is as short as a symbol
    ],
)
def test_shares_by_hand(text, target, share):
    assert share_in(text, target) == (None if share is None else pytest.approx(share, abs=0.01))


@pytest.mark.parametrize("text", ["yes", "x=15+3=18", "h t u v\nhtuuv", "10+8=18 18+3=21 yes", "Compute 3"])
def test_what_is_too_short_to_tell_is_not_called_foreign(text):
    assert share_in(text, "en") in (1.0, None)
    assert share_in(text, "de") in (1.0, None)


@pytest.mark.parametrize(("text", "language"), [("Multiply 3 by 681.", "en"), ("Wie viel ist 3 + 4?", "de")])
def test_a_short_problem_is_in_english_unless_another_language_is_sure(text, language):
    assert detect(text) == language


def test_a_short_text_can_be_foreign():
    assert share_in("la respuesta es 4", "en") == 0.0


def test_words_by_hand():
    found = [(w.text, w.script, w.count) for w in words("It's x是 ผลรวมของ 12 पहले")]
    assert found == [
        ("It's", "latin", 1),
        ("x", "latin", 1),
        ("是", "han", 1),
        ("ผลรวมของ", "thai", 2),  # 8 characters, four a word
        ("पहले", "devanagari", 1),
    ]


def test_no_words_have_no_language():
    assert detect("17 + 5 = ?") == ""


def test_a_long_text_is_read_at_both_ends():
    english = "This is a plain sentence about adding numbers. "
    assert share_in(english * 5000 + "这是中文。", "en") == pytest.approx(1.0, abs=0.01)
    assert (share_in(english * 500 + "这是中文的句子。" * 5000, "zh") or 0) > 0.5


def test_unknown_targets_are_refused():
    for known in ("prompt", "en", "zh", "sw"):
        check_target(known)
    with pytest.raises(BadInput, match="language 'english' is not known"):
        check_target("english")
