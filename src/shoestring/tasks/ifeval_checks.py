"""The 25 kinds of instruction that IFEval checks by code: what each takes, and whether a text follows it.

After Zhou et al. 2023 (arXiv 2311.07911) and the published checker's behaviour, its oddities included (a word
in bold counts as two highlights). Two kinds rest on other tools there and on ours here, so counts can differ
at the edge: sentences (nltk's punkt) and languages (langdetect)."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shoestring.tasks.language import detect, share_in

Args = Mapping[str, Any]
Check = Callable[[str, Args], bool]
RELATIONS = ("less than", "at least")
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
SCRIPTS = {"kn": "kannada", "pa": "gurmukhi", "gu": "gujarati"}  # whose one language the script itself tells
MOSTLY = 0.5  # a text is in the language that more than this share of its words is in
WORD = re.compile(r"[\w][\w.'’-]*")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*(?=\s|$)|(?<=[。！？])|\n\s*\n")
ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|No|Inc|Ltd|Co|Fig|approx|e\.g|i\.e|a\.m|p\.m|[A-Z])\.(?=\s)"
)


@dataclass(frozen=True)
class Kind:
    """takes: argument -> its type, all needed."""

    check: Check
    takes: Mapping[str, type]


def _compare(count: int, relation: str, wanted: int) -> bool:
    return count < wanted if relation == RELATIONS[0] else count >= wanted


def count_sentences(text: str) -> int:
    kept = ABBREVIATION.sub(lambda match: match[0][:-1], text)
    return sum(bool(re.search(r"\w", part)) for part in SENTENCE_END.split(kept))


def count_words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def _existence(text: str, args: Args) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in args["keywords"])


def _frequency(text: str, args: Args) -> bool:
    found = re.findall(re.escape(args["keyword"].strip()), text, re.IGNORECASE)
    return _compare(len(found), args["relation"], args["frequency"])


def _forbidden(text: str, args: Args) -> bool:
    return not any(re.search(rf"\b{re.escape(w)}\b", text, re.IGNORECASE) for w in args["forbidden_words"])


def _letters(text: str, args: Args) -> bool:
    count = text.lower().count(args["letter"].lower())
    return _compare(count, args["let_relation"], args["let_frequency"])


def _language(text: str, args: Args) -> bool:
    return is_in(text, args["language"])


def is_in(text: str, language: str) -> bool:
    """A text without words is in any language."""
    code = language.partition("-")[0].lower()
    if code in SCRIPTS:
        return detect(text) == SCRIPTS[code]
    share = share_in(text, code)
    return share is None or share > MOSTLY


def _paragraphs(text: str, args: Args) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if any(not part for part in parts[1:-1]):
        return False
    return sum(bool(part) for part in parts) == args["num_paragraphs"]


def _first_word(text: str, args: Args) -> bool:
    parts = text.split("\n\n")
    count, place = sum(bool(part.strip()) for part in parts), args["nth_paragraph"]
    if not 1 <= place <= count or not parts[place - 1].strip():
        return False
    word = parts[place - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower()
    return count == args["num_paragraphs"] and first == args["first_word"].strip().lower()


def _postscript(text: str, args: Args) -> bool:
    marker = args["postscript_marker"].strip()
    spaced = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    wanted = spaced[marker] if marker in spaced else re.escape(marker.lower())
    return bool(re.search(wanted, text.lower()))


def _bullets(text: str, args: Args) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == args["num_bullets"]


def _highlights(text: str, args: Args) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part.strip("*").strip()]
    return len(single) + len(double) >= args["num_highlights"]


def _sections(text: str, args: Args) -> bool:
    marks = re.findall(rf"\s?{re.escape(args['section_spliter'].strip())}\s?\d+\s?", text)
    return len(marks) >= args["num_sections"]


def _json(text: str, args: Args) -> bool:
    fence = re.fullmatch(r"(?:```(?:json|Json|JSON)?)?(.*?)(?:```)?", text.strip(), re.DOTALL)
    assert fence is not None
    try:
        json.loads(fence[1].strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, args: Args) -> bool:
    return any(title.strip("<>").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, args: Args) -> bool:
    parts = [part.strip() for part in text.split("******")]
    if any(not part for part in parts[1:-1]):
        return False
    said = [part for part in parts if part]
    return len(said) == 2 and said[0] != said[1]


def _repeat(text: str, args: Args) -> bool:
    return text.strip().lower().startswith(args["prompt_to_repeat"].strip().lower())


def _ends(text: str, args: Args) -> bool:
    return text.strip().strip('"').lower().endswith(args["end_phrase"].strip().lower())


def _quoted(text: str, args: Args) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capital_words(text: str, args: Args) -> bool:
    count = sum(word.isupper() for word in WORD.findall(text))
    return _compare(count, args["capital_relation"], args["capital_frequency"])


KINDS: dict[str, Kind] = {
    "keywords:existence": Kind(_existence, {"keywords": list}),
    "keywords:frequency": Kind(_frequency, {"keyword": str, "relation": str, "frequency": int}),
    "keywords:forbidden_words": Kind(_forbidden, {"forbidden_words": list}),
    "keywords:letter_frequency": Kind(_letters, {"letter": str, "let_relation": str, "let_frequency": int}),
    "language:response_language": Kind(_language, {"language": str}),
    "length_constraints:number_sentences": Kind(
        lambda text, args: _compare(count_sentences(text), args["relation"], args["num_sentences"]),
        {"relation": str, "num_sentences": int},
    ),
    "length_constraints:number_paragraphs": Kind(_paragraphs, {"num_paragraphs": int}),
    "length_constraints:number_words": Kind(
        lambda text, args: _compare(count_words(text), args["relation"], args["num_words"]),
        {"relation": str, "num_words": int},
    ),
    "length_constraints:nth_paragraph_first_word": Kind(
        _first_word, {"num_paragraphs": int, "nth_paragraph": int, "first_word": str}
    ),
    "detectable_content:number_placeholders": Kind(
        lambda text, args: len(re.findall(r"\[.*?\]", text)) >= args["num_placeholders"],
        {"num_placeholders": int},
    ),
    "detectable_content:postscript": Kind(_postscript, {"postscript_marker": str}),
    "detectable_format:number_bullet_lists": Kind(_bullets, {"num_bullets": int}),
    "detectable_format:constrained_response": Kind(
        lambda text, args: any(answer in text for answer in ANSWERS), {}
    ),
    "detectable_format:number_highlighted_sections": Kind(_highlights, {"num_highlights": int}),
    "detectable_format:multiple_sections": Kind(_sections, {"section_spliter": str, "num_sections": int}),
    "detectable_format:json_format": Kind(_json, {}),
    "detectable_format:title": Kind(_title, {}),
    "combination:two_responses": Kind(_two_responses, {}),
    "combination:repeat_prompt": Kind(_repeat, {"prompt_to_repeat": str}),
    "startend:end_checker": Kind(_ends, {"end_phrase": str}),
    "startend:quotation": Kind(_quoted, {}),
    "change_case:capital_word_frequency": Kind(
        _capital_words, {"capital_relation": str, "capital_frequency": int}
    ),
    "change_case:english_capital": Kind(lambda text, args: text.isupper() and is_in(text, "en"), {}),
    "change_case:english_lowercase": Kind(lambda text, args: text.islower() and is_in(text, "en"), {}),
    "punctuation:no_comma": Kind(lambda text, args: "," not in text, {}),
}
