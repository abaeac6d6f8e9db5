"""What conversations are made of, before and after the template."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np

from shoestring.text.tool_calls import ToolCall, ToolCard


class Message(TypedDict):
    """One turn. An assistant's thinking may come apart in `reasoning_content`, its calls in `tool_calls`; a
    system turn may bring the `tools` that it tells of. The template writes both in its own form."""

    role: str
    content: str
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tools: NotRequired[list[ToolCard]]


def user(content: str) -> Message:
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids. trained[i] says whether the loss counts the model's prediction of ids[i]."""

    ids: list[int]
    trained: list[bool]
    row_id: str = ""


@dataclass(frozen=True)
class Reply:
    """What a completion says: its thinking (None when there is none), its answer, and whether it was cut
    short by a token limit. A reply cut inside its thinking has an empty answer."""

    reasoning: str | None
    answer: str
    cut: bool = False


@dataclass(frozen=True)
class PackedBatch:
    """Rows laid end to end without padding, for one forward pass over flat tokens.

    Row r holds the tokens starts[r] : starts[r] + lengths[r]. parents[r] is the row whose whole text comes
    before it (a group's shared prompt), or -1. A parent has no parent itself, and positions count on from it.
    The hidden state of token predict_from[i] predicts the id targets[i]; only what is trained is listed.
    """

    ids: np.ndarray  # (T,) int64
    positions: np.ndarray  # (T,) int64
    starts: np.ndarray  # (R,) int64
    lengths: np.ndarray  # (R,) int64
    parents: np.ndarray  # (R,) int64
    predict_from: np.ndarray  # (N,) int64: index of the token whose hidden state predicts ...
    targets: np.ndarray  # (N,) int64: ... this id
    owners: np.ndarray  # (N,) int64: the sequence (sample, row of data) the target belongs to
