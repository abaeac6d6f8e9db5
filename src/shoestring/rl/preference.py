"""The reward model of R1's last stage ("RL on all scenarios"): what it learns by, and how it scores replies
where no right answer exists. (DeepSeek-R1, Nature 645, Methods: a helpful model from pairs, which reads the
answer only; a safety model from labels, which reads the thinking too.)"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import LanguageModel, precision
from shoestring.model_files import load_template, model_folder
from shoestring.models.reward_head import RewardNetwork, load_reward_checkpoint, write_reward_checkpoint
from shoestring.models.shards import read_json, write_json
from shoestring.origin import Lineage
from shoestring.text.message import Message, PackedBatch, Rendered, Reply
from shoestring.text.packing import Family, pack, share_prefix, split_by_tokens
from shoestring.text.preferences import Kind
from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer
from shoestring.train.batch import Placed

SCALE_FILE = "preference.json"
LIMIT = 3.0  # standardised scores beyond it are clamped: nothing may be worth any price
SCORED_TOKENS = 8192  # of one forward pass


def pairwise_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(r_chosen - r_rejected) of each pair (P,): the chance that Bradley and Terry's model gives
    to what was chosen."""
    return -F.logsigmoid(chosen - rejected)


def pointwise_loss(scores: Tensor, safe: Tensor) -> Tensor:
    """Binary cross entropy of each reply (R,); safe (R,) is 1 or 0, the score is the logit of "safe"."""
    return F.binary_cross_entropy_with_logits(scores, safe.float(), reduction="none")


def judged_message(reply: Reply, kind: Kind) -> Message:
    """What a reward model of this kind reads of a reply."""
    message = Message(role="assistant", content=reply.answer)
    if kind == "safety" and reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    return message


def pack_groups(
    groups: Sequence[Sequence[Rendered]], max_tokens: int
) -> list[tuple[PackedBatch, list[tuple[int, int]]]]:
    """Packed batches of about `max_tokens`, each with (group, row) of its rows in the order they lie in it.
    The rows of a group begin alike (a prompt's replies) and share that; a large group is taken apart."""
    parts: list[list[tuple[int, int]]] = []
    for g, rows in enumerate(groups):
        split = split_by_tokens([len(row.ids) for row in rows], max_tokens)
        parts += [[(g, i) for i in part] for part in split]
    families = [share_prefix([groups[g][i] for g, i in part]) for part in parts]
    batches = split_by_tokens([family_size(family) for family in families], max_tokens)
    return [
        (pack([families[b] for b in batch]), [place for b in batch for place in parts[b]])
        for batch in batches
    ]


def family_size(family: Family) -> int:
    """In tokens."""
    return len(family.prefix) + sum(len(row.ids) for row in family.rows)


def last_tokens(packed: PackedBatch) -> Tensor:
    """(R,) the place of each row's last token, shared beginnings left out."""
    shared = np.unique(packed.parents[packed.parents >= 0])
    return torch.from_numpy(np.delete(packed.starts + packed.lengths - 1, shared))


def packed_scores(network: RewardNetwork, packed: PackedBatch) -> Tensor:
    """(R,) float32, one of each row."""
    placed = Placed.of(packed, network.device)
    ends = last_tokens(packed).to(network.device)
    return network(placed.ids, placed.positions, placed.rows, ends)


@dataclass(frozen=True)
class Scale:
    """Of the scores on the reward model's own training set: what a score of 0 and of 1 means."""

    mean: float = 0.0
    std: float = 1.0

    def standardised(self, score: float) -> float:
        """Within -LIMIT .. LIMIT. Raises ShoestringError on what is no number."""
        if not math.isfinite(score):
            raise ShoestringError(f"the reward model gave {score}: train it again with a lower learning rate")
        return max(-LIMIT, min(LIMIT, (score - self.mean) / max(self.std, 1e-6)))


@dataclass
class PreferenceModel:
    """A reward network with its tokenizer, template, lineage and scale. `too_long` counts the replies that
    didn't fit its window; they get the lowest score."""

    network: RewardNetwork
    tokenizer: Tokenizer
    template: Template
    lineage: Lineage
    kind: Kind
    scale: Scale = Scale()
    too_long: int = 0

    @classmethod
    def start(cls, lm: LanguageModel, kind: Kind, seed: int) -> "PreferenceModel":
        """An untrained one on `lm`'s network, which is no language model afterwards."""
        tokenizer = lm.tokenizer.with_pad(_pad_token(lm.tokenizer, lm.template))
        network = RewardNetwork.on(lm.network, seed)
        return cls(network, tokenizer, lm.template, lm.lineage, kind)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu", dtype: str = "auto") -> "PreferenceModel":
        """A folder that `shoestring reward` wrote, or its stage's or run's. Raises BadInput, one line."""
        if not Path(folder).exists():
            raise BadInput(f"no reward model '{folder}': no such folder; `shoestring reward` makes one")
        path = model_folder(Path(folder))
        network = load_reward_checkpoint(path, precision(dtype, device), device)
        network.requires_grad_(False)
        tokenizer, template = load_template(path)
        raw = read_json(path / SCALE_FILE) if (path / SCALE_FILE).exists() else {}
        try:
            kinds: dict[str, Kind] = {"helpful": "helpful", "safety": "safety"}
            kind = kinds[raw["kind"]]
            scale = Scale(float(raw["mean"]), float(raw["std"]))
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{path}: {SCALE_FILE} lacks kind, mean and std, which its scores need") from None
        return cls(network, tokenizer, template, Lineage.load(path), kind, scale)

    def save(self, folder: Path) -> None:
        """A Hugging Face folder for AutoModelForSequenceClassification, with lineage.json."""
        try:
            write_reward_checkpoint(self.network, folder, self.tokenizer.pad_id)
            self.tokenizer.save(folder, self.template.source)
            write_json(folder / SCALE_FILE, {"kind": self.kind} | dataclasses.asdict(self.scale))
            self.lineage.save(folder)
        except OSError as error:
            raise ShoestringError(f"can't save the model in {folder}: {error.strerror or error}") from None

    def render(self, messages: Sequence[Message], reply: Reply, row_id: str = "") -> Rendered:
        """Ids up to the end-of-turn token, whose hidden state is scored; some templates write a newline after
        it."""
        row = self.template.render([*messages, judged_message(reply, self.kind)], row_id=row_id)
        end = len(row.trained) - row.trained[::-1].index(True)
        return Rendered(row.ids[:end], [False] * end, row_id)

    @torch.no_grad()
    def raw_scores(
        self, groups: Sequence[Sequence[Rendered]], max_tokens: int = SCORED_TOKENS
    ) -> list[list[float]]:
        """A score for every row of groups whose rows begin alike."""
        found = [[0.0] * len(rows) for rows in groups]
        for packed, places in pack_groups(groups, max_tokens):
            scores = packed_scores(self.network, packed).tolist()
            for (group, row), score in zip(places, scores, strict=True):
                found[group][row] = score
        return found

    def score(self, rows: Sequence[tuple[str, Sequence[Message], Reply]]) -> dict[str, float]:
        """A standardised score for every id, within -LIMIT .. LIMIT. A cut reply has the lowest: it has no
        end to be judged by, and running on must not pay. Raises ShoestringError on what is no number."""
        scores = dict.fromkeys((id_ for id_, _, _ in rows), -LIMIT)
        assert len(scores) == len(rows), "ids must differ"
        families: dict[str, list[Rendered]] = {}
        for id_, messages, reply in rows:
            if reply.cut:
                continue
            row = self.render(messages, reply, id_)
            if len(row.ids) > self.network.config.max_position_embeddings:
                self.too_long += 1
                continue
            families.setdefault(json.dumps(list(messages), sort_keys=True), []).append(row)
        groups = list(families.values())
        for group, found in zip(groups, self.raw_scores(groups), strict=True):
            for row, score in zip(group, found, strict=True):
                scores[row.row_id] = self.scale.standardised(score)
        return scores


def _pad_token(tokenizer: Tokenizer, template: Template) -> str:
    """The tokenizer's own, or where that ends a turn (as SmolLM2's does) another that doesn't: transformers
    scores the last token that isn't padding."""
    named = {i: token for token, i in tokenizer.special_ids.items()}
    usable = [i for i in (tokenizer.pad_id, *sorted(named)) if i in named and i not in template.stop_ids]
    if not usable:
        raise BadInput("every special token of this tokenizer ends a turn: none is left to pad with")
    return named[usable[0]]
