"""Files of judged replies, which a reward model learns from: pairs (which of two is better), and labels (is
this one safe)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shoestring.errors import BadInput
from shoestring.origin import Origin
from shoestring.text.conversations import read_rows
from shoestring.text.declared import declared, origin_of, require_origin
from shoestring.text.message import Message, Reply
from shoestring.text.stream import CLOSE, OPEN

Kind = Literal["helpful", "safety"]
OWN = Path(__file__).parent / "data" / "preference.jsonl"  # the pairs and labels that come with the package
LEAST_BYTES = 24  # a shorter reply counts as this long where lengths are compared
LABELS = {"safe": True, "unsafe": False, "1": True, "0": False, "true": True, "false": False}


@dataclass(frozen=True)
class Judged:
    """A conversation and what was said at its end: of a pair (safe is None) two replies, the better one
    first, of a label one."""

    id: str
    messages: list[Message]
    replies: tuple[Reply, ...]
    safe: bool | None
    origin: Origin


@dataclass(frozen=True)
class PreferenceRows:
    """rows of one kind; left_out counts by reason what was not kept of them."""

    rows: list[Judged]
    left_out: Mapping[str, int]


def read_preferences(path: Path, kind: Kind, max_length_ratio: float) -> PreferenceRows:
    """The rows of `kind`: {"prompt" or "messages", "chosen", "rejected"}, or {"prompt" or "messages",
    "response", "label": "safe", "unsafe", 1 or 0}. A reply is a text, a message with `reasoning_content`, or
    a conversation whose last turn is the reply; <think> at a text's beginning is its thinking. A row carries
    `source`, `licence` and `teacher`, or they are declared for the file. All rows are checked, of both kinds;
    raises BadInput with the row's number. Left out and counted: pairs whose answers are equal, and those
    where the longer answer has more than `max_length_ratio` times the UTF-8 bytes of the shorter (R1 keeps
    lengths alike, so that length isn't what is learnt)."""
    found = [row for row in _judged(path) if (row.safe is None) == (kind == "helpful")]
    if not found:
        wanted = "pairs (chosen, rejected)" if kind == "helpful" else "labelled replies (response, label)"
        raise BadInput(f"{path} holds no {wanted}, which kind = '{kind}' learns from")
    kept: list[Judged] = []
    left_out: Counter[str] = Counter({"ties": 0, "unlike_lengths": 0} if kind == "helpful" else {})
    for row in found:
        reason = _fault(row, max_length_ratio) if kind == "helpful" else None
        if reason is None:
            kept.append(row)
        else:
            left_out[reason] += 1
    if not kept:
        raise BadInput(f"{path}: no row is left to learn from: {dict(left_out)}")
    return PreferenceRows(kept, dict(left_out))


def num_bytes(reply: Reply) -> int:
    """The answer's length: bytes, for a Chinese character says about as much as three letters."""
    return len(reply.answer.encode())


def _fault(row: Judged, max_length_ratio: float) -> str | None:
    better, worse = (reply.answer.strip() for reply in row.replies)
    if better == worse:
        return "ties"
    sizes = sorted(max(num_bytes(reply), LEAST_BYTES) for reply in row.replies)
    return "unlike_lengths" if sizes[1] > max_length_ratio * sizes[0] else None


def _judged(path: Path) -> Iterator[Judged]:
    declaration = declared(path)
    for number, row in enumerate(read_rows(path), start=1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: not an object with named fields")
        row = {key: value for key, value in row.items() if value is not None}  # Parquet fills gaps with null
        safe = None
        if "chosen" in row and "rejected" in row:
            said = [_said(row[key], f"{where}: {key}") for key in ("chosen", "rejected")]
        elif "response" in row and "label" in row:
            safe = LABELS.get(str(row["label"]).strip().lower())
            if safe is None:
                raise BadInput(f"{where}: label {row['label']!r} is none of safe, unsafe, 1, 0")
            said = [_said(row["response"], f"{where}: response")]
        else:
            raise BadInput(
                f"{where}: neither chosen and rejected nor response and label; it has {', '.join(row)}"
            )
        asked = _asked(row, where) or said[0][0]
        if not asked:
            raise BadInput(f"{where}: no prompt and no messages, so nothing that is answered")
        origin = require_origin(origin_of(row, path, declaration), path, number)
        replies = tuple(reply for _, reply in said)
        yield Judged(f"{path.name}#{number}", asked, replies, safe, origin)


def _asked(row: Mapping[str, Any], where: str) -> list[Message]:
    given = row.get("prompt", row.get("messages"))
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    messages = _messages(given, where)
    if not messages or messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise BadInput(f"{where}: the prompt's last turn must be the user's, and not empty")
    return messages


def _said(value: Any, where: str) -> tuple[list[Message], Reply]:
    """A reply, and the turns before it where it comes with its conversation."""
    if isinstance(value, str):
        value = {"content": value}
    if isinstance(value, dict):
        value = [{"role": "assistant"} | value]
    turns = _messages(value, where)
    if not turns or turns[-1]["role"] != "assistant":
        raise BadInput(f"{where}: its last turn is not the assistant's")
    content, reasoning = turns[-1]["content"], turns[-1].get("reasoning_content")
    if reasoning is None and content.lstrip().startswith(OPEN):
        reasoning, closed, content = content.lstrip()[len(OPEN) :].partition(CLOSE)
        if not closed:
            raise BadInput(f"{where}: {OPEN} is never closed")
        reasoning, content = reasoning.strip("\n"), content.lstrip("\n")
    return turns[:-1], Reply(reasoning or None, content)


def _messages(value: Any, where: str) -> list[Message]:
    if not isinstance(value, list):
        raise BadInput(f"{where}: a text or a list of messages is wanted, not {type(value).__name__}")
    found: list[Message] = []
    for message in value:
        texts = message if isinstance(message, dict) else {}
        role, content, reasoning = (texts.get(key) for key in ("role", "content", "reasoning_content"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadInput(f"{where}: each message needs a role and a content, both text")
        found.append(Message(role=role, content=content))
        if isinstance(reasoning, str):
            found[-1]["reasoning_content"] = reasoning
    return found
