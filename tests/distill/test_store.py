"""Teacher's logprobs on the disk: whole or not at all, made once, and of one teacher."""

import dataclasses
import errno
import os

import pytest
import torch

from shoestring.distill.live import Kept, LiveTeacher, keep
from shoestring.distill.store import (
    LogprobStore,
    Manifest,
    bytes_per_token,
    read_manifest,
    row_key,
)
from shoestring.errors import BadInput, ShoestringError
from shoestring.lm import weights_sha256
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack
from shoestring.train.batch import MicroBatch
from tiny import tiny_lm

MANIFEST = Manifest("big", "0" * 64, "f" * 64, vocab=300, temperature=1.0, k=4)


def some(count: int, k: int = 4, seed: int = 0) -> Kept:
    g = torch.Generator().manual_seed(seed)
    logprobs = torch.randn(count, 300, generator=g).log_softmax(-1)
    top = logprobs.topk(k)
    tail = logprobs.scatter(1, top.indices, -torch.inf).logsumexp(-1)
    return Kept(top.indices, top.values, tail, logprobs[:, 0])


def test_rows_come_back_as_they_were(tmp_path):
    store = LogprobStore(tmp_path / "s", MANIFEST)
    rows = {"a": some(3), "b": some(5, seed=1)}
    store.write(rows)
    store.write({"c": some(2, seed=2)})
    again = LogprobStore(tmp_path / "s", MANIFEST)
    assert len(again) == 3
    assert "b" in again
    assert "d" not in again
    for key, row in (rows | {"c": some(2, seed=2)}).items():
        found = again.read(key)
        assert torch.equal(found.ids, row.ids)
        assert torch.equal(found.logprobs, row.logprobs.half().float())
        assert torch.equal(found.tail, row.tail)
        assert torch.equal(found.chosen, row.chosen)
    with pytest.raises(ShoestringError, match="no logprobs of row d"):
        again.read("d")


def test_bytes_are_what_was_said(tmp_path):
    store = LogprobStore(tmp_path / "s", MANIFEST)
    few, many = store.write({"a": some(100)}), store.write({"b": some(1100, seed=1)})
    assert many - few == pytest.approx(1000 * bytes_per_token(4, 300), abs=16)
    assert bytes_per_token(64, 49_152) == 264
    assert bytes_per_token(64, 129_280) == 392


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"sha256": "1" * 64, "teacher": "small"}, "weights of the teacher"),
        ({"tokenizer": "e" * 64}, "tokenizer"),
        ({"temperature": 2.0}, "temperature there 1.0, here 2.0"),
        ({"k": 8}, "number of tokens kept"),
        ({"vocab": 301}, "size of the student's vocabulary"),
    ],
)
def test_a_store_of_something_else_is_refused_by_name(tmp_path, changed, name):
    LogprobStore(tmp_path, MANIFEST)
    with pytest.raises(BadInput, match=name):
        LogprobStore(tmp_path, dataclasses.replace(MANIFEST, **changed))
    LogprobStore(tmp_path, dataclasses.replace(MANIFEST, teacher="its other name"))  # the weights decide


def test_a_full_disk_stops_cleanly_and_the_rest_is_whole(tmp_path, monkeypatch):
    store = LogprobStore(tmp_path, MANIFEST)
    store.write({"a": some(3)})

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ShoestringError, match="the disk is full"):
            store.write({"b": some(3)})
    assert "b" not in store
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "shard-000000.safetensors"]
    again = LogprobStore(tmp_path, MANIFEST)
    again.write({"b": some(3)})
    assert len(again) == 2


def test_a_shard_taken_away_is_made_anew_under_a_name_of_its_own(tmp_path):
    store = LogprobStore(tmp_path, MANIFEST)
    for key in "abc":
        store.write({key: some(2)})
    (tmp_path / "shard-000001.safetensors").unlink()
    again = LogprobStore(tmp_path, MANIFEST)
    assert "b" not in again
    again.write({"b": some(2)})
    assert len(LogprobStore(tmp_path, MANIFEST)) == 3


def test_broken_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    LogprobStore(tmp_path, MANIFEST)
    (tmp_path / "shard-000000.safetensors").write_bytes(b"torn")
    with pytest.raises(BadInput, match=r"shard-000000\.safetensors can't be read"):
        LogprobStore(tmp_path, MANIFEST)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match="can't be read"):
        read_manifest(tmp_path)


def test_a_row_is_known_by_its_ids_and_mask():
    row = Rendered([1, 2, 3], [False, True, True], "x")
    assert row_key(row) == row_key(dataclasses.replace(row, row_id="y"))
    assert row_key(row) != row_key(Rendered([1, 2, 3], [False, False, True], "x"))
    assert row_key(row) != row_key(Rendered([1, 2, 4], [False, True, True], "x"))


def test_weights_have_a_hash_of_their_own():
    assert weights_sha256(tiny_lm(0)) == weights_sha256(tiny_lm(0))
    assert weights_sha256(tiny_lm(0)) != weights_sha256(tiny_lm(1))


def test_what_is_kept_is_the_teachers_distribution():
    lm = tiny_lm()
    ids = lm.tokenizer.encode("What is 2 + 3?")
    packed = pack([Family([], [Rendered(ids, [i > 3 for i in range(len(ids))], "r")])])
    batch = MicroBatch(packed, torch.ones(len(packed.targets)))
    wanted = (lm.logits([ids])[0, 3:-1] / 0.7).log_softmax(-1)
    teacher = LiveTeacher(lm.network, torch.arange(lm.config.vocab_size))
    kept = keep(teacher, batch, 5, 0.7)
    assert torch.allclose(kept.logprobs, wanted.topk(5).values, atol=1e-5)
    assert torch.allclose(kept.logprobs.exp().sum(-1) + kept.tail.exp(), torch.ones(len(wanted)), atol=1e-5)
    assert torch.allclose(kept.chosen, wanted.gather(1, torch.tensor(ids[4:])[:, None])[:, 0], atol=1e-5)


def test_a_renumbered_teacher_says_the_same():
    """The same model under a student whose ids run backwards, with two rows of padding."""
    lm = tiny_lm()
    vocab = lm.config.vocab_size
    to_teacher = torch.cat((torch.arange(vocab - 1, -1, -1), torch.tensor([-1, -1])))
    ids = lm.tokenizer.encode("Say it.")
    own = [vocab - 1 - i for i in ids]
    found = []
    for shown, mapped in ((ids, torch.arange(vocab)), (own, to_teacher)):
        packed = pack([Family([], [Rendered(shown, [True] * len(ids), "r")])])
        teacher = LiveTeacher(lm.network, mapped)
        found.append(teacher.logits(teacher.hidden(MicroBatch(packed, torch.ones(len(packed.targets))))))
    assert torch.equal(found[0], found[1][:, :vocab].flip(1))
    assert (found[1][:, vocab:].squeeze() < found[0].amax(-1, keepdim=True) - 29).all()
