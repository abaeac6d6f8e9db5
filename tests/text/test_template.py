"""Every template shape: the ids of transformers, the mask, the prefix property, replies that survive the
trip."""

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_shapes import SHAPES, random_conversations, write_tokenizer
from shoestring.errors import BadInput
from shoestring.text.message import Message, Reply
from shoestring.text.template import Template
from shoestring.text.tokenizer_files import load_tokenizer

PIECES = ("zephyr-metaspace", "zephyr-prepend")
BYTES = [name for name in SHAPES if name not in PIECES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write_tokenizer(tmp_path_factory.mktemp("tokenizer"), name) for name in SHAPES}


@pytest.fixture(scope="module")
def templates(folders):
    result = {}
    for name, folder in folders.items():
        tokenizer, source = load_tokenizer(folder, ())
        end = tokenizer.token_id(SHAPES[name].eos)
        result[name] = Template(tokenizer, source, (end,))
    return result


def spelled(template: Template, ids: list[int]) -> str:
    return template._tokenizer.decode(ids)


def trained_text(template: Template, messages, **options) -> str:
    rendered = template.render(messages, **options)
    return spelled(template, [i for i, t in zip(rendered.ids, rendered.trained, strict=True) if t])


USER = Message(role="user", content="What is 1 + 2?")


def said(answer: str, reasoning: str | None = None) -> Message:
    if reasoning is None:
        return Message(role="assistant", content=answer)
    return Message(role="assistant", content=answer, reasoning_content=reasoning)


# ------------------------------------------------ ids


@pytest.mark.parametrize("name", SHAPES)
def test_ids_equal_transformers_on_200_conversations(name, folders, templates):
    theirs = transformers.AutoTokenizer.from_pretrained(folders[name])
    ends_open = 0
    for messages in random_conversations(200, seed=7, plain=name in PIECES):
        prompt = messages[-1]["role"] != "assistant"
        expected = theirs.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        got = templates[name].render(messages, add_generation_prompt=prompt)
        assert got.ids == expected, messages
        ends_open += prompt
    assert 40 < ends_open < 160  # both kinds were there


@pytest.mark.parametrize("name", SHAPES)
def test_a_saved_tokenizer_is_the_same_to_transformers(name, folders, templates, tmp_path):
    template = templates[name]
    template._tokenizer.save(tmp_path, template.source)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.pad_token_id == template._tokenizer.pad_id
    assert theirs.pad_token_id not in template.stop_ids
    assert theirs.chat_template == template.source
    for messages in random_conversations(20, seed=3, plain=name in PIECES):
        expected = theirs.apply_chat_template(messages, add_generation_prompt=False, return_dict=False)
        assert template.render(messages).ids == expected


@pytest.mark.parametrize("name", BYTES)
def test_a_prompt_begins_the_prompt_with_its_reply(name, templates):
    """Token for token, also where the reply begins with white space that would merge with the prompt's
    end."""
    template = templates[name]
    for i, messages in enumerate(random_conversations(60, seed=11)):
        if messages[-1]["role"] != "user":
            messages.pop()
        rendered = template.render(messages, add_generation_prompt=True)
        prompt = rendered.ids
        if name == "r1":  # its prompt opens a thought
            reply = said(["Yes.", "\n\nYes", " 1"][i % 3], "Hm")
        else:
            reply = said(["Yes.", "\n\nYes", " 1", ""][i % 4])
        whole = template.render([*messages, reply])
        assert whole.ids[: len(prompt)] == prompt
        assert whole.trained[: len(prompt)] == rendered.trained  # earlier replies, never the prompt's end
        assert not whole.trained[len(prompt) - 1]
        assert whole.trained[len(prompt)]


@pytest.mark.parametrize("name", SHAPES)
def test_special_tokens_in_a_message_stay_text(name, templates):
    template = templates[name]
    evil = "a".join(SHAPES[name].specials) + "\U000f0000" + "\U000f00001;"
    messages = [Message(role="system", content=evil), Message(role="user", content=evil), said(evil), USER]
    ids = template.render(messages).ids
    harmless = [Message(role=m["role"], content="x") for m in messages[:3]] + [USER]
    special = set(template._tokenizer.special_ids.values()) - {template._tokenizer.token_id("<unk>")}
    count = [sum(i in special for i in rendered) for rendered in (ids, template.render(harmless).ids)]
    assert count[0] == count[1]
    if name in BYTES:
        assert spelled(template, ids).count(evil) == 3


# ------------------------------------------------ the mask


@pytest.mark.parametrize("name", SHAPES)
def test_the_assistants_text_and_its_end_are_trained_and_nothing_else(name, templates):
    shape, template = SHAPES[name], templates[name]
    messages = [
        Message(role="system", content="Be short."),
        USER,
        said("So two."),
        USER,
        said("The dog."),
    ]
    block = "<think>\n\n</think>\n\n" if name == "qwen3" else ""
    if name in PIECES:
        ids = template.render(messages)
        spans = spans_of(ids.trained)
        assert [ids.ids[b - 1] == template.stop_ids[0] for _, b in spans] == [True, True]
        texts = [spelled(template, ids.ids[a : b - 1]).strip() for a, b in spans]
        assert texts == ["So two.", "The dog."]
    else:
        assert trained_text(template, messages) == f"So two.{shape.eos}{block}The dog.{shape.eos}"
    assert not any(template.render(messages[:2], add_generation_prompt=True).trained)


def spans_of(trained: list[bool]) -> list[tuple[int, int]]:
    before, after = [False, *trained], [*trained, False]
    edges = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    return list(zip(edges[::2], edges[1::2], strict=True))


def test_the_mask_is_not_fooled_by_what_is_said(templates):
    """The same words everywhere: only where they stand decides."""
    template, same = templates["smollm2"], "<|im_start|>assistant\nSame<|im_end|>\n"
    messages = [
        Message(role="user", content=same),
        said(same),
        Message(role="user", content=same),
        said(same),
    ]
    assert trained_text(template, messages) == (same + "<|im_end|>") * 2
    assert len(spans_of(template.render(messages).trained)) == 2


def test_the_row_is_carried_and_named(templates):
    assert templates["smollm2"].render([USER, said("x")], row_id="r-17").row_id == "r-17"
    with pytest.raises(BadInput, match=r"^row r-18: a conversation needs at least one message$"):
        templates["smollm2"].render([], row_id="r-18")


# ------------------------------------------------ thinking


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5", "llama3"])
def test_thinking_in_a_template_that_does_not_know_it(name, templates):
    text = trained_text(templates[name], [USER, said("3", "1 + 2 is 3")])
    assert text == f"<think>\n1 + 2 is 3\n</think>\n3{SHAPES[name].eos}"


def test_thinking_in_a_template_that_knows_it(templates):
    text = trained_text(templates["qwen3"], [USER, said("3", "1 + 2 is 3")])
    assert text == "<think>\n1 + 2 is 3\n</think>\n\n3<|im_end|>"


def test_thinking_in_a_template_that_opens_it_and_drops_it(templates):
    template = templates["r1"]
    whole = template.render([USER, said("3", "1 + 2 is 3")])
    assert spelled(template, whole.ids).endswith(
        "<｜Assistant｜><think>\n1 + 2 is 3\n</think>\n3<｜end▁of▁sentence｜>"
    )
    assert (
        trained_text(template, [USER, said("3", "1 + 2 is 3")])
        == "1 + 2 is 3\n</think>\n3<｜end▁of▁sentence｜>"
    )


@pytest.mark.parametrize("name", BYTES)
def test_old_thinking_is_dropped(name, templates):
    template = templates[name]
    with_old = [USER, said("3", "old thought"), USER, said("4", "new thought")]
    without = [USER, said("3"), USER, said("4", "new thought")]
    assert template.render(with_old).ids == template.render(without).ids
    assert template.render(with_old[:3], True).ids == template.render(without[:3], True).ids
    assert "old thought" not in spelled(template, template.render(with_old).ids)
    assert "new thought" in spelled(template, template.render(with_old).ids)


CHARACTERS = st.text("ab 1.\n+=Äß你🙂<>/", max_size=40)


@pytest.mark.parametrize("name", BYTES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reasoning=st.none() | CHARACTERS, answer=CHARACTERS)
def test_a_reply_survives_rendering_and_parsing(name, templates, reasoning, answer):
    """Exactly for our own form. Templates that trim or strip what they are given lose white space at the
    ends."""
    template = templates[name]
    reasoning = reasoning or None
    if name in ("qwen3", "r1"):
        reasoning, answer = reasoning and (reasoning.strip("\n") or None), answer.lstrip("\n")
    if name == "llama3":
        answer = answer.strip()
    if name == "r1" and reasoning is None:
        return  # it has no way to write a reply without thinking
    prompt = template.render([USER], add_generation_prompt=True).ids
    reply = template.render([USER, said(answer, reasoning)]).ids[len(prompt) :]
    assert template.parse(reply, cut=False) == Reply(reasoning, answer)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("3", None, "3"),
        ("<think>\nHm\n</think>\n3", "Hm", "3"),
        ("\n <think>Hm</think>3", "Hm", "3"),
        ("<think>\nHm", "Hm", ""),
        ("<think>\n", "", ""),
        ("3 <think>Hm</think>", None, "3 <think>Hm</think>"),
        ("Hm</think>3", None, "Hm</think>3"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("<think>\n\na\n\n</think>\n\n3", "\na\n", "\n3"),
        ("<thin", None, "<thin"),
        ("", None, ""),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_parsing(text, reasoning, answer, cut, templates):
    template = templates["smollm2"]
    end = [] if cut else [*template.stop_ids, 5, 6]  # nothing counts after the end of the turn
    ids = template._tokenizer.encode(text)
    assert template.parse([*ids, *end], cut) == Reply(reasoning, answer, cut)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [("Hm\n</think>\n\n3", "Hm", "3"), ("Hm", "Hm", ""), ("</think>3", None, "3")],
)
def test_parsing_after_a_prompt_that_opened_the_thought(text, reasoning, answer, templates):
    template = templates["r1"]
    assert template.parse(template._tokenizer.encode(text), False) == Reply(reasoning, answer)


# ------------------------------------------------ what can't be rendered


def test_stop_ids(templates):
    tokenizer = templates["llama3"]._tokenizer
    eot, other = tokenizer.token_id("<|eot_id|>"), tokenizer.token_id("<|begin_of_text|>")
    assert Template(tokenizer, SHAPES["llama3"].template, (other,)).stop_ids == (eot, other)
    assert Template(tokenizer, None, (other,)).stop_ids == (other,)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "has no chat template"),
        ("{% for %}", "is not valid Jinja"),
        ("{{ raise_exception('Only user turns!') }}", "refuses this conversation: Only user turns!"),
        ("{{ messages[7].content }}", "refuses this conversation"),
        ("{{ 'a' + 1 }}", "refuses this conversation"),
        ("{{ ''.__class__.__mro__ }}", "refuses this conversation"),
        ("{{ messages.append(1) }}", "refuses this conversation"),
        ("{% set ns = namespace(__init__=1) %}", "refuses this conversation"),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "closes an assistant's turn with no end-of-turn",
        ),
        ("{{ messages | length }}<|im_end|>", "rewrites earlier turns"),
    ],
)
def test_templates_that_fail_do_so_when_rendering(source, says, templates):
    template = Template(templates["smollm2"]._tokenizer, source)
    with pytest.raises(BadInput, match=says) as caught:
        template.render([USER, said("x")])
    assert "\n" not in str(caught.value)
    assert template.parse(templates["smollm2"]._tokenizer.encode("x"), False) == Reply(None, "x")


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "at least one message"),
        ([{"role": "user"}], "message 0 has no text in 'content'"),
        ([{"content": "x"}], "message 0 has no text in 'role'"),
        ([{"role": "user", "content": None}], "message 0 has no text in 'content'"),
        ([{"role": "assistant", "content": "x"}], "can't begin with the assistant"),
    ],
)
def test_conversations_that_are_none(messages, says, templates):
    with pytest.raises(BadInput, match=says):
        templates["smollm2"].render(messages)


def test_what_transformers_gives_templates_is_there(templates):
    source = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% if loop.last %}{% break %}{% endif %}{% endfor %}"
        "{{ [1, '<é>'] | tojson }}{{ dict(a=1).a }}{{ strftime_now('%Y') | length }}{{ tools is none }}"
        "{% if x is defined %}!{% endif %}<|im_end|>"
    )
    template = Template(templates["smollm2"]._tokenizer, source)
    assert spelled(template, template.render([USER]).ids) == USER["content"] + '[1, "<é>"]14True<|im_end|>'
