import dataclasses

import pytest

from shoestring.origin import Lineage, Origin, Stage
from shoestring.provenance.reach import claimed, reaches, term_of_model, term_of_origin

SMOL = Stage("smollm2-135m", "base", "", {"copy_of": "HuggingFaceTB/SmolLM2-135M", "licence": "Apache-2.0"})
LLAMA = Stage("l", "base", "", {"copy_of": "meta-llama/Llama-3.1-8B", "licence": "llama3.1"})
SUMS = Origin("procedural:sums", "CC0-1.0")


def taught_by(teacher: str, sha256: str = "", terms: str = "") -> Origin:
    return dataclasses.replace(SUMS, teacher=teacher, teacher_sha256=sha256, terms=terms)


def student(lineage: Lineage, sha256: str, name: str = "teacher", terms: str = "", base=SMOL) -> Lineage:
    """A base that learns from rows which a model of this lineage wrote."""
    stage = Stage("sft", "sft", "", origins=(taught_by(name, sha256, terms),))
    return Lineage((base,)).then(stage, lineage.as_teacher(sha256))


def test_a_model_made_from_nothing_on_data_of_no_model_is_our_own():
    lineage = Lineage().then(Stage("pretrain", "pretrain", "", origins=(SUMS,)))
    assert term_of_model(lineage, "m").text == "own"
    assert [(r.kind, r.term) for r in reaches(lineage)] == [("data", None)]
    assert term_of_model(student(lineage, "ab", base=lineage.stages[0]), "s").ruling == "own"


def test_a_base_hands_its_terms_on():
    trained = Lineage((LLAMA,)).then(Stage("grpo", "grpo", "", origins=(SUMS,)))
    term = term_of_model(trained, "mine")
    assert (term.ruling, term.teacher) == ("duty", "mine (through meta-llama/Llama-3.1-8B)")
    assert (
        term_of_model(Lineage((Stage("found", "unknown", "", {"path": "found"}),)), "x").ruling == "unknown"
    )


def test_a_term_comes_through_any_number_of_stages():
    lineage = Lineage((LLAMA,))
    for generation in range(4):
        lineage = student(lineage, f"weights-{generation}", f"model-{generation}")
    assert len(lineage.teachers) == 4
    assert term_of_model(lineage, "last").ruling == "duty"
    found = reaches(lineage)
    paths = [reach.path for reach in found if reach.term and reach.term.teacher == "meta-llama/Llama-3.1-8B"]
    assert paths == [("sft", "model-3", "sft", "model-2", "sft", "model-1", "sft", "model-0", "l")]
    assert [r.term.ruling for r in found if r.kind == "base" and r.term] == ["allowed"] * 4 + ["duty"]


def test_the_strictest_of_several_teachers():
    rows = (taught_by("Qwen3-8B"), taught_by("meta-llama/Llama-3.1-70B"), SUMS)
    lineage = Lineage((SMOL,)).then(Stage("sft", "sft", "", origins=rows))
    assert term_of_model(lineage, "m").ruling == "duty"
    barred = lineage.then(Stage("more", "sft", "", origins=(taught_by("gpt-4o"),)))
    assert term_of_model(barred, "m").ruling == "barred"
    assert term_of_model(student(barred, "ab"), "m").ruling == "barred"


def test_a_permission_once_given_goes_along():
    letter = "permitted: by OpenAI's letter of 2026-11-01"
    first = Lineage((SMOL,)).then(Stage("sft", "sft", "", origins=(taught_by("gpt-4o", terms=letter),)))
    assert term_of_model(first, "m").text == letter
    second = student(first, "ab")
    assert term_of_model(second, "m").text == letter
    barred = Lineage((SMOL,)).then(Stage("sft", "sft", "", origins=(taught_by("gpt-4o"),)))
    lifted = student(barred, "ab", terms="permitted: by letter")
    assert term_of_model(lifted, "m").text == "permitted: by letter"
    assert {r.term.ruling for r in reaches(lifted) if r.term} == {"allowed", "permitted"}


def test_what_a_row_is_stamped_with_is_believed_of_a_name_without_a_rule_only():
    assert term_of_origin(taught_by("ours", terms="own"), {}).ruling == "own"
    assert term_of_origin(taught_by("ours", terms="allowed"), {}).ruling == "allowed"
    assert term_of_origin(taught_by("ours"), {}).ruling == "unknown"
    assert term_of_origin(taught_by("gpt-4o", terms="allowed"), {}).ruling == "barred"
    assert term_of_origin(taught_by("gpt-4o", terms="own"), {}).ruling == "barred"
    assert term_of_origin(taught_by("Qwen2.5-3B", terms="allowed"), {}).ruling == "unknown"


def test_a_stamp_may_make_it_stricter_and_never_looser():
    duty = term_of_model(Lineage((LLAMA,)), "mine").text
    known = term_of_origin(taught_by("smollm2-135m > learn", "gone", duty), {})
    assert (known.ruling, known.text) == ("duty", duty)
    for stamp in ("unknown", "barred"):
        assert term_of_origin(taught_by("Qwen3-8B", terms=stamp), {}).ruling == stamp
    assert term_of_origin(taught_by("Llama-3.1-8B", terms="own"), {}).ruling == "duty"


def test_a_row_cant_permit_itself():
    letter = taught_by("gpt-4", terms="permitted: by letter")
    assert term_of_origin(claimed(letter, {"by letter"}), {}).ruling == "permitted"
    assert term_of_origin(claimed(letter, {"by another"}), {}).ruling == "barred"
    # that a permission was needed is believed, whatever the name
    needed = taught_by("smollm2-135m > learn", terms="permitted: by letter")
    assert term_of_origin(claimed(needed, ()), {}).ruling == "unknown"
    assert claimed(taught_by("gpt-4", terms="allowed"), ()).terms == "allowed"


@pytest.mark.parametrize(
    ("teacher", "licence", "endpoint"),
    [
        ("mistral-small-latest", "", "https://api.mistral.ai/v1"),
        ("mistral-7b", "Apache-2.0", ""),
        ("qwen2-57b", "Apache-2.0", "http://localhost:8000/v1"),
        ("qwen2.5-3b", "Apache-2.0", ""),
    ],
)
def test_rows_are_judged_by_all_that_let_them_in(teacher, licence, endpoint):
    rows = taught_by(teacher, terms="allowed")
    assert term_of_origin(rows, {}).ruling == "unknown"
    rows = dataclasses.replace(rows, teacher_licence=licence, teacher_endpoint=endpoint)
    assert term_of_origin(rows, {}).ruling == "allowed"


@pytest.mark.parametrize("base", [LLAMA, Stage("g", "base", "", {"copy_of": "gemma-2-2b"})])
def test_a_stamped_duty_is_known_again_by_its_words(base):
    first = term_of_model(Lineage((base,)), "mine")
    again = term_of_origin(taught_by("mine", "gone", first.text), {})
    assert (again.ruling, again.duty) == ("duty", first.duty)
    assert again.duty


def test_a_name_that_teaches_itself_ends():
    rows = taught_by("deepseek-chat")
    lineage = Lineage((SMOL,)).then(Stage("sft", "sft", "", origins=(rows,)))
    loop = Lineage(lineage.stages, {"deepseek-chat": lineage.stages})
    assert term_of_model(loop, "m").ruling == "allowed"
    assert len(reaches(loop)) == 4


def test_a_teachers_own_lineage_counts_for_more_than_its_name():
    own = Lineage().then(Stage("pretrain", "pretrain", ""))
    assert term_of_origin(taught_by("gpt-4-killer", "ab"), own.as_teacher("ab")).ruling == "own"
