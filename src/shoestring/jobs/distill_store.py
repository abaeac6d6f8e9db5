"""The teacher's logprobs of all rows of a run, made before the student is there."""

import dataclasses
import time
from collections.abc import Sequence

import torch

from shoestring.distill.divergence import Tail
from shoestring.distill.live import LiveTeacher, keep
from shoestring.distill.plan import StorePlan, plan_store
from shoestring.distill.store import LogprobStore, row_key
from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.jobs.training import update_flops
from shoestring.lm import LanguageModel
from shoestring.run import Stage
from shoestring.run.files import dumps, held, write_atomic
from shoestring.text.message import Rendered
from shoestring.text.packing import pack, share_prefix, split_by_tokens
from shoestring.train.batch import MicroBatch

SHARD_TOKENS = 65_536  # trained ones of a shard: a kill loses the shard that is being made


def fill_store(
    store: LogprobStore,
    teacher: LanguageModel,
    to_teacher: torch.Tensor,
    rows: Sequence[Rendered],
    micro_batch_tokens: int,
    stage: Stage,
    tail: Tail = "class",
) -> StorePlan | None:
    """What is missing of these rows is made and kept, a shard at a time; what it takes and how far off it may
    be, with what a loss makes of its `tail`, is said first, and None where nothing was missing. Raises
    Interrupted, and ShoestringError where the disk refuses: shards that were written stay."""
    with held(store.folder / ".lock", wait=False) as mine:
        if not mine:
            raise BadInput(f"another run is writing to {store.folder}: wait for it, or name another folder")
        missing = list({row_key(row): row for row in rows if row_key(row) not in store}.values())
        if not missing:
            stage.say(f"all {len(rows):,} rows have the teacher's logprobs in {store.folder}")
            return None
        live = LiveTeacher(teacher.network, to_teacher)
        first, *_ = split_by_tokens([len(row.ids) for row in missing], micro_batch_tokens)
        _, batch = _packed([missing[i] for i in first])
        plan = plan_store(live, batch, store.manifest.k, store.manifest.temperature)
        for line in plan.lines(sum(map(num_targets, missing)), len(missing), tail):
            stage.say(line)
        write_atomic(stage.folder / "store.json", dumps(dataclasses.asdict(plan), indent=2) + "\n")
        total = len(store) + len(missing)
        for part in _shards(missing):
            _make_shard(store, live, part, micro_batch_tokens, stage)
            stage.progress(len(store), total, rows=f"{len(store)}")
            if stage.stop_requested:
                raise Interrupted(
                    f"stopped with the teacher's logprobs of {len(store):,} rows kept: go on with the same "
                    "command and --resume"
                )
    return plan


def _make_shard(
    store: LogprobStore, live: LiveTeacher, rows: Sequence[Rendered], micro_batch_tokens: int, stage: Stage
) -> None:
    began = time.perf_counter()
    made, tokens, flops = {}, 0, 0
    for group in split_by_tokens([len(row.ids) for row in rows], micro_batch_tokens):
        own, batch = _packed([rows[i] for i in group])
        kept, start = keep(live, batch, store.manifest.k, store.manifest.temperature), 0
        for row in own:
            made[row_key(row)] = kept.rows(slice(start, start + num_targets(row)))
            start += num_targets(row)
        tokens += batch.num_tokens
        flops += update_flops(live.network.config, [batch]) // 3
    store.write(made)
    stage.use("teach", time.perf_counter() - began, tokens, flops)


def _shards(rows: Sequence[Rendered]) -> list[list[Rendered]]:
    shards: list[list[Rendered]] = [[]]
    tokens = 0
    for row in rows:
        if tokens + num_targets(row) > SHARD_TOKENS and shards[-1]:
            shards.append([])
            tokens = 0
        shards[-1].append(row)
        tokens += num_targets(row)
    return shards


def _packed(rows: list[Rendered]) -> tuple[list[Rendered], MicroBatch]:
    packed = pack([share_prefix(rows)])
    return rows, MicroBatch(packed, torch.zeros(len(packed.targets)))


def num_targets(row: Rendered) -> int:
    """A row's very first id has nothing before it that could predict it."""
    return sum(row.trained[1:])


def with_teacher(
    rows: Sequence[Rendered], micro_batch_tokens: int, store: LogprobStore | None
) -> list[MicroBatch]:
    """The step's micro-batches, as SFT's; with a store each target has the teacher's columns."""
    count = sum(map(num_targets, rows))
    groups = split_by_tokens([len(row.ids) for row in rows], micro_batch_tokens)
    batches: list[MicroBatch] = []
    for group in groups:
        own = [rows[i] for i in group]
        packed = pack([share_prefix(own)])
        batch = MicroBatch(packed, torch.full((len(packed.targets),), 1.0 / count))
        batches.append(batch if store is None else _annotated(batch, own, store))
    return batches


def _annotated(batch: MicroBatch, rows: Sequence[Rendered], store: LogprobStore) -> MicroBatch:
    found = [store.read(row_key(row)) for row in rows]
    columns = [
        torch.cat(column) for column in zip(*((f.ids, f.logprobs, f.tail) for f in found), strict=True)
    ]
    if len(columns[0]) != batch.num_targets:
        raise ShoestringError(f"{store.folder} has other rows than it says: remove it, it is made anew")
    return dataclasses.replace(
        batch, teacher_ids=columns[0], teacher_logprobs=columns[1], teacher_tail=columns[2]
    )
