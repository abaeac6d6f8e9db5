"""What somebody else finds when they look a folder over."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from releases import ALONE, saved
from shoestring.errors import BadInput
from shoestring.release.export import export
from shoestring.release.proof import PROOF_FILE, hashes
from shoestring.release.receipts import check_unit
from shoestring.release.source import open_source
from shoestring.release.verify import Verified, verify


def quiet(text: str) -> None:
    del text


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    stage = saved(folder)
    source = open_source(str(stage), str(folder / "base"))
    export(source, folder / "hf", "hf", None, 2, ALONE, quiet)
    export(source, folder / "gguf", "gguf", "q8_0", 2, ALONE, quiet)
    return folder


@pytest.fixture
def hf(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported / "hf", tmp_path / "hf"))


def look(folder: Path, rerun: bool = False) -> Verified:
    return verify(folder, rerun, ALONE, check_unit, quiet)


def test_an_export_as_it_was(hf):
    found = look(hf)
    assert found.faults == []
    assert found.held == ["the hf export: all 10 files are as they were"]
    assert found.unchecked[-1].endswith("the proof wasn't made again (--rerun)")
    assert any(
        "when it was made, hf with transformers: not installed" in reason for reason in found.unchecked
    )


def test_every_change_is_named(hf):
    (hf / "config.json").write_text((hf / "config.json").read_text() + " ")
    (hf / "tokenizer.json").unlink()
    (hf / "more.py").write_text("print()")
    assert look(hf).faults == [
        f"{hf}/config.json was changed",
        f"{hf}/tokenizer.json is missing",
        f"{hf}/more.py was added",
    ]


@pytest.mark.parametrize("form", ["hf", "gguf"])
def test_the_proof_is_made_again(exported, form):
    found = look(exported / form, rerun=True)
    assert found.faults == []
    assert "shoestring takes the same token at all 64 places as then" in found.held[-1]
    assert "not read again with" in found.unchecked[-1]


def test_a_changed_tensor_under_new_hashes_is_found_by_its_tokens(hf):
    tensors = load_file(hf / "model.safetensors")
    tensors["model.norm.weight"] = -tensors["model.norm.weight"]
    save_file(tensors, hf / "model.safetensors", metadata={"format": "pt"})
    proof = json.loads((hf / PROOF_FILE).read_text())
    proof["files"] = hashes(hf)
    (hf / PROOF_FILE).write_text(json.dumps(proof))
    assert look(hf).faults == []
    assert "shoestring takes another token at" in look(hf, rerun=True).faults[0]


def test_changed_files_are_not_loaded(hf):
    (hf / "model.safetensors").write_bytes(b"")
    found = look(hf, rerun=True)
    assert found.faults == [f"{hf}/model.safetensors was changed"]
    assert "isn't made again of files that were changed" in found.unchecked[-1]


def test_a_failed_proof_is_a_fault(hf):
    proof = json.loads((hf / PROOF_FILE).read_text())
    (hf / PROOF_FILE).write_text(json.dumps({**proof, "faults": ["other tokens"]}))
    assert look(hf).faults == [f"{hf}: its proof failed: other tokens"]


def test_folders_that_are_none(hf, tmp_path):
    with pytest.raises(BadInput, match="it is no release and no export"):
        look(tmp_path)
    (hf / PROOF_FILE).write_text("{}")
    assert "is damaged: keys are missing" in look(hf).faults[0]
    (hf / "release.json").write_text("[]")
    with pytest.raises(BadInput, match="is damaged"):
        look(hf)


def test_prompts_of_another_vocabulary(hf):
    proof = json.loads((hf / PROOF_FILE).read_text())
    proof["prompt_ids"][0] = [10**6]
    (hf / PROOF_FILE).write_text(json.dumps(proof))
    assert "aren't of this model's vocabulary" in look(hf, rerun=True).faults[0]


def test_rows_of_the_likeliest_are_read(hf):
    from shoestring.release.verify import _likeliest

    assert _likeliest([{4: -0.5, 7: -2.5, 1: -3.0}]) == ([4], [2.0])
    chosen, lead = _likeliest(torch.tensor([[0.1, 0.7, 0.2]]))
    assert (chosen, lead) == ([1], [pytest.approx(0.5)])
