import pytest

from shoestring.evals.identity import base_family, claim
from shoestring.origin import Lineage, Stage

CLAIMS = [
    ("I am SmolLM, trained by Hugging Face.", "own"),
    ("I'm SmolLM2-135M-Instruct.", "own"),
    ("I am ChatGPT, a model by OpenAI.", "other"),
    ("I am SmolLM and was made by OpenAI.", "both"),
    ("I am a helpful assistant.", "none"),
    ("I like metal, bards and llamas' wool.", "none"),  # no names, only words like them
    ("I'm Llama 3 by Meta.", "other"),
]


@pytest.mark.parametrize(("text", "expected"), CLAIMS)
def test_claims_against_smollm(text: str, expected: str):
    assert claim(text, "smollm") == expected


def test_with_an_unknown_base_every_name_is_anothers():
    assert claim("I am SmolLM.", None) == "other"
    assert claim("I am an assistant.", None) == "none"


def test_base_is_read_from_the_oldest_stage_that_names_one():
    base = Stage("x", "base", "", {"copy_of": "HuggingFaceTB/SmolLM2-135M-Instruct"})
    later = Stage("qwen-data", "sft", "", {})
    assert base_family(Lineage((base, later))) == "smollm"
    assert base_family(Lineage((Stage("model", "unknown", "", {}),))) is None
    assert base_family(Lineage((Stage("model", "unknown", "", {}),)), "Qwen3-0.6B") == "qwen"
