"""Vocabularies by string; a student under another tokenizer."""

import pytest
import torch

from shoestring.distill.vocabulary import compare, refuse_different, transplant
from shoestring.errors import BadInput
from shoestring.text.template import Template
from tiny import CHATML, byte_tokenizer, tiny_lm, tiny_tokenizer


def test_the_same_tokens():
    found = compare(tiny_tokenizer(), tiny_tokenizer(), rows=259)
    assert found.kind == "identical"
    assert found.to_teacher.tolist() == list(range(259))


def test_rows_that_pad_the_vocabulary_have_no_like():
    found = compare(tiny_tokenizer(), tiny_tokenizer(), rows=264)
    assert found.kind == "identical"
    assert found.to_teacher[259:].tolist() == [-1] * 5


def test_the_same_strings_under_other_ids():
    student, teacher = tiny_tokenizer(), byte_tokenizer(order=-1)
    found = compare(student, teacher, rows=259)
    assert found.kind == "renumbered"
    assert "256 of them under other ids" in found.why
    for token in ("a", "!", "<pad>"):
        assert found.to_teacher[student.vocabulary[token]] == teacher.vocabulary[token]
    refuse_different(found, "student", "teacher")  # is no reason to refuse


def test_one_size_and_another_token_is_refused_by_name():
    student, teacher = byte_tokenizer([("a", "b")]), byte_tokenizer([("c", "d")])
    assert student.vocab_size == teacher.vocab_size
    found = compare(student, teacher, rows=260)
    assert found.kind == "different"
    with pytest.raises(BadInput, match=r"'ab'.*'cd'.*'distill-outputs', then sft\)$"):
        refuse_different(found, "one", "other")
    with pytest.raises(BadInput, match=r"then sft\), or give it another tokenizer$"):
        refuse_different(found, "one", "other", "give it another tokenizer")


def test_a_transplant_copies_what_both_have_and_composes_the_rest():
    lm = tiny_lm()
    new = byte_tokenizer([("a", "b"), ("ab", "c")], order=-1, markers=["<bos>", "<eos>", "<pad>"])
    template = Template(new, CHATML.replace("<|im_start|>", "<bos>").replace("<|im_end|>", "<eos>"), (257,))
    found = transplant(lm, new, template)
    old, made = lm.network.embed_tokens, found.lm.network.embed_tokens
    was, now = lm.tokenizer.vocabulary, new.vocabulary
    assert torch.equal(made[now["x"]], old[was["x"]])
    assert torch.equal(made[now["<pad>"]], old[was["<pad>"]])
    assert torch.equal(made[now["<eos>"]], old[was["<|im_end|>"]])  # by what it does
    mean = old[[was["a"], was["b"], was["c"]]].mean(0)
    assert torch.allclose(made[now["abc"]], mean)
    assert (found.copied, found.composed, found.averaged) == (259, 2, 0)
    assert found.lm.config.vocab_size == new.vocab_size == len(made)
    assert found.lm.config.eos_token_id == template.stop_ids
    assert torch.equal(found.lm.network.norm, lm.network.norm)


def test_a_transplanted_model_says_the_same_of_the_same_tokens(tmp_path):
    lm = tiny_lm()
    new = byte_tokenizer(order=-1)
    moved = transplant(lm, new, Template(new, CHATML, (new.vocabulary["<|im_end|>"],))).lm
    text = "two and two"
    one, other = lm.logits([lm.tokenizer.encode(text)]), moved.logits([new.encode(text)])
    order = [
        new.vocabulary[token] for token, _ in sorted(lm.tokenizer.vocabulary.items(), key=lambda i: i[1])
    ]
    assert torch.allclose(one, other[..., order], atol=1e-5)
    moved.save(tmp_path / "moved")
    assert (tmp_path / "moved" / "config.json").exists()
