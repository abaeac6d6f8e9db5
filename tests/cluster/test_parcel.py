import pytest
import torch

from shoestring.cluster.parcel import (
    LostParcel,
    Shelf,
    entries_of,
    first_difference,
    packed,
    read,
    unpacked,
)
from shoestring.errors import ShoestringError
from small_disk import small_disk
from tiny import tiny_lm
from tiny_v3 import tiny_v3


def weights(lm):
    return list(lm.network.public_tensors())


def test_a_buffer_gives_back_every_bit_and_precision():
    lm = tiny_v3()
    lm.network.to(torch.bfloat16)
    buffer, manifest = packed(weights(lm))
    given = dict(unpacked(buffer, manifest))
    for name, own in weights(lm):
        assert given[name].dtype == own.dtype
        assert torch.equal(given[name], own)


def test_the_fingerprint_is_of_the_weights_and_not_of_where_they_lie():
    lm, buffer = tiny_lm(), packed(weights(tiny_lm()))
    again = entries_of(reversed(weights(lm)))
    assert again.fingerprint == buffer[1].fingerprint
    assert first_difference(buffer[1], again) == ""


def test_one_bit_is_another_fingerprint_and_is_found():
    lm = tiny_lm()
    sent = entries_of(weights(lm))
    name, tensor = weights(lm)[3]
    with torch.no_grad():
        tensor.view(-1)[0] += 1e-6
    held = entries_of(weights(lm))
    assert sent.fingerprint != held.fingerprint
    assert first_difference(sent, held) == name


def test_a_tensor_that_is_missing_is_named():
    lm = tiny_lm()
    assert first_difference(entries_of(weights(lm)), entries_of(weights(lm)[:-1])) == weights(lm)[-1][0]


def test_a_short_buffer_is_refused():
    buffer, manifest = packed(weights(tiny_lm()))
    with pytest.raises(LostParcel, match="bytes of weights came of"):
        list(unpacked(buffer[:-1], manifest))


def test_files_are_whole_or_not_there_and_only_the_last_two_are_kept(tmp_path):
    buffer, manifest = packed(weights(tiny_lm()))
    shelf = Shelf(tmp_path)
    for version in range(4):
        path = shelf.write(buffer, manifest, version)
    assert sorted(p.name for p in shelf.folder.iterdir()) == [
        "weights-000002.safetensors",
        "weights-000003.safetensors",
    ]
    assert entries_of(read(path)).fingerprint == manifest.fingerprint
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LostParcel, match="can't be read"):
        read(path)
    with pytest.raises(LostParcel, match="can't be read"):
        read(tmp_path / "weights-000009.safetensors")


def test_what_was_written_last_is_kept_though_its_version_is_lower(tmp_path):
    """A resume and a roll-back go back to older weights."""
    buffer, manifest = packed(weights(tiny_lm()))
    shelf = Shelf(tmp_path)
    for version in (9, 10, 0):
        path = shelf.write(buffer, manifest, version)
        assert entries_of(read(path)).fingerprint == manifest.fingerprint
    assert sorted(p.name for p in shelf.folder.iterdir()) == [
        "weights-000000.safetensors",
        "weights-000010.safetensors",
    ]


def test_two_runs_share_a_folder_and_each_clears_its_own_away(tmp_path):
    buffer, manifest = packed(weights(tiny_lm()))
    one, other = Shelf(tmp_path), Shelf(tmp_path)
    path = one.write(buffer, manifest, 1)
    for version in range(2, 6):
        other.write(buffer, manifest, version)
    assert entries_of(read(path)).fingerprint == manifest.fingerprint
    other.close()
    assert [p.name for p in tmp_path.iterdir()] == [one.folder.name]


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path):
    buffer, manifest = packed(weights(tiny_lm()))
    with small_disk(tmp_path / "disk", 3 * manifest.nbytes) as disk:
        shelf = Shelf(disk)
        kept = shelf.write(buffer, manifest, 1)
        (disk / "other").write_bytes(bytes(int(1.5 * manifest.nbytes)))
        with pytest.raises(ShoestringError, match=r"weights-000002.*: the disk is full; what was saved"):
            shelf.write(buffer, manifest, 2)
        assert [p.name for p in shelf.folder.iterdir()] == [kept.name]
        assert entries_of(read(kept)).fingerprint == manifest.fingerprint
        (disk / "other").unlink()
        assert entries_of(read(shelf.write(buffer, manifest, 2))).fingerprint == manifest.fingerprint
