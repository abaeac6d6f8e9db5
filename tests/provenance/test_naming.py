import pytest

from shoestring.errors import BadInput
from shoestring.origin import Lineage, Origin, Stage
from shoestring.provenance.card import provenance_card
from shoestring.provenance.naming import card_lines, duties_of, faults, proper_name, require_named


def taught(*teachers: str, terms: str = "") -> Lineage:
    origins = tuple(Origin("procedural:sums", "CC0-1.0", teacher, terms=terms) for teacher in teachers)
    base = Stage("b", "base", "", {"copy_of": "SmolLM2-135M", "licence": "Apache-2.0"})
    return Lineage((base, Stage("sft", "sft", "2026-11-27", origins=origins)))


def test_llamas_name_and_phrase():
    duties = duties_of(taught("meta-llama/Llama-3.3-70B"))
    assert proper_name("tiny", duties) == "Llama-tiny"
    assert proper_name("llama-tiny", duties) == "llama-tiny"
    assert proper_name("me/Llama-tiny", duties) == "me/Llama-tiny"
    assert card_lines(duties)[0] == "Built with Llama"
    name, phrase, passed = faults("tiny", "A card.", duties)
    assert name == "its name must begin with Llama: Llama-tiny"
    assert phrase == 'its card must show "Built with Llama"'
    assert "700 million" in passed


def test_qwens_phrase_leaves_the_name_alone():
    lineage = taught("Qwen2.5-72B-Instruct")
    duties = duties_of(lineage)
    assert proper_name("tiny", duties) == "tiny"
    card = "\n".join(card_lines(duties))
    require_named("tiny", card, lineage)
    require_named("tiny", card.replace("Built with Qwen", "Improved using Qwen"), lineage)
    with pytest.raises(BadInput, match=r"model 'tiny': its card must show .Built with Qwen. or .Improved"):
        require_named("tiny", card.replace("Built with Qwen", ""), lineage)


def test_no_duty_of_apache_and_of_our_own():
    assert duties_of(taught("Qwen2.5-0.5B", "deepseek-r1")) == ()
    require_named("tiny", "", taught("Qwen2.5-0.5B"))


def test_a_permitted_teachers_duty_stays():
    (duty,) = duties_of(taught("Qwen2.5-3B", terms="permitted: our use is research"))
    assert duty.pass_on == "Non-commercial use only."


def test_duties_of_several_add_up_once_each():
    duties = duties_of(taught("Llama-3.1-8B", "Llama-3.3-70B", "Qwen2.5-72B"))
    assert len(duties) == 2
    assert card_lines(duties)[:2] == ["Built with Llama", "Built with Qwen"]


def test_the_card_fulfils_what_it_lists():
    lineage = taught(
        "Llama-3.1-8B", "Qwen2.5-72B", "gemma-2-2b", "gpt-4o", terms="permitted: by letter of 2026"
    )
    card = provenance_card(lineage, "tiny")
    assert card.startswith("# Llama-tiny\n\nBuilt with Llama\n")
    require_named(proper_name("tiny", duties_of(lineage)), card, lineage)
    assert "## Permissions in writing\n\n- by letter of 2026\n" in card
    assert "written by gpt-4o" in card
    assert "legal advice" in card
    assert "permitted: by letter of 2026: Services Agreement 3.3(e)" in card


def test_the_card_of_a_model_of_our_own():
    card = provenance_card(Lineage((Stage("pretrain", "pretrain", "", origins=(Origin("s", "MIT"),)),)), "m")
    assert "- pretrain: s, licence MIT\n" in card
    assert "own: no other model's words reached it" in card
    assert "Permissions" not in card
