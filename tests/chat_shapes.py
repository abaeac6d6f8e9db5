"""Small templates in the shapes of the public ones, and small tokenizers trained on the spot that go with
them."""

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from shoestring.text.gguf_vocab import LLAMA3, QWEN2

# a default system turn of its own when the conversation brings none
SMOL = """{% for m in messages %}
{%- if loop.first and m.role != 'system' -%}
{{ '<|im_start|>system\\nYou are Tiny, a test model<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endfor -%}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN25 = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are Tiny.<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) or m.role == 'assistant' %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

# thinking is a field; only that after the last user turn is written; the last reply always gets a block
QWEN3 = """{%- set ns = namespace(last=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role != 'assistant' %}
        {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- else %}
        {%- set thought = '' %}
        {%- if m.reasoning_content is string %}
            {%- set thought = m.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
            {{- content.lstrip('\\n') + '<|im_end|>\\n' }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

LLAMA3_CHAT = """{{- bos_token }}
{%- for m in messages %}
    {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

# opens <think> for the model, and drops all thinking from what it has said
R1 = """{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'system' %}{{- m.content }}{%- endif %}
    {%- if m.role == 'user' %}{{- '<｜User｜>' + m.content }}{%- endif %}
    {%- if m.role == 'assistant' %}
        {%- set said = m.content.split('</think>')[-1] if '</think>' in m.content else m.content %}
        {{- '<｜Assistant｜>' + said + '<｜end▁of▁sentence｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{%- endif %}"""

# roles are plain words; only the end of a turn is a token (SentencePiece tokenizers)
ZEPHYR = """{% for m in messages %}
{{ '<|' + m.role + '|>\\n' + m.content + eos_token }}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

TEXT = [
    "The quick brown fox jumps over the lazy dog; it doesn't stop, we've seen it 12 times.",
    "Let's add 12 + 7 = 19, then 3 * 45 = 135. The answer is 154.\n\nSo x = 154.",
    "system user assistant think You are a helpful model. What is the capital of France? Paris.",
    "Äpfel und Öl, naïve café, 你好 世界, привет мир, 🙂 emoji\tand tabs  and   spaces\r\n",
]


@dataclass(frozen=True)
class Shape:
    template: str
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    split: str  # how text is cut: smollm, qwen2, llama3, metaspace, prepend
    unk: str | None = None
    own: tuple[str, ...] = ()  # added tokens that are not special


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|reserved_0|>")
SHAPES = {
    "smollm2": Shape(SMOL, CHATML, "<|im_start|>", "<|im_end|>", "smollm", "<|endoftext|>"),
    "qwen2.5": Shape(QWEN25, CHATML, None, "<|im_end|>", "qwen2"),
    "qwen3": Shape(QWEN3, CHATML, None, "<|im_end|>", "qwen2", own=("<think>", "</think>")),
    "llama3": Shape(
        LLAMA3_CHAT,
        (
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|finetune_right_pad_id|>",
        ),
        "<|begin_of_text|>",
        "<|eot_id|>",
        "llama3",
    ),
    "r1": Shape(
        R1,
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜▁pad▁｜>"),
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "llama3",
        own=("<think>", "</think>"),
    ),
    "zephyr-metaspace": Shape(ZEPHYR, ("<unk>", "<s>", "</s>"), "<s>", "</s>", "metaspace", "<unk>"),
    "zephyr-prepend": Shape(ZEPHYR, ("<unk>", "<s>", "</s>"), "<s>", "</s>", "prepend", "<unk>"),
}


@cache
def trained_tokenizer(split: str, specials: tuple[str, ...], own: tuple[str, ...]) -> str:
    """tokenizer.json of a BPE with about 500 tokens."""
    piece = split in ("metaspace", "prepend")
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True) if piece else models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split == "smollm")
    alphabet = [] if piece else sorted(pre_tokenizers.ByteLevel.alphabet())
    if split == "metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
    elif split == "prepend":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    elif split == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), last])
        backend.decoder = decoders.ByteLevel()
    else:
        (pattern,) = QWEN2 if split == "qwen2" else LLAMA3
        cut = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([cut, last])
        backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXT * 5, trainer)
    backend.add_tokens(list(own))
    return backend.to_str()


def write_tokenizer(folder: Path, name: str) -> Path:
    """A folder that both transformers and we read."""
    shape = SHAPES[name]
    (folder / "tokenizer.json").write_text(trained_tokenizer(shape.split, shape.specials, shape.own))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": shape.eos}
    config |= {"chat_template": shape.template}
    config |= {"bos_token": shape.bos} if shape.bos else {}
    config |= {"unk_token": shape.unk} if shape.unk else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": shape.eos}))
    return folder


def byte_level(pre: str, split: str = "smollm", **more):
    """Metadata of a trained byte-level tokenizer, as llama.cpp's converter writes it."""
    raw = tokenizers.Tokenizer.from_str(trained_tokenizer(split, CHATML, ("<think>",)))
    vocab = sorted(raw.get_vocab().items(), key=lambda item: item[1])
    merges = merges_of(raw)
    types = [3 if token in CHATML else 4 if token == "<think>" else 1 for token, _ in vocab]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [token for token, _ in vocab],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": SMOL,
    } | more


def merges_of(backend) -> list[str]:
    return [" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]


def random_conversations(count: int, seed: int, plain: bool = False) -> list[list[dict[str, str]]]:
    """Ordinary ones: system or not, one to four exchanges, the last turn either side's. An assistant's text
    begins with no white space. `plain` keeps to characters that a small SentencePiece vocabulary has."""
    rng = random.Random(seed)
    words = [w for line in TEXT for w in line.split(" ")]
    words += ["\n", "\n\n", " ", "  ", "1234567", "x=3", "don't", "I'LL", "...", "?!", "\t", "(a)"]
    if plain:
        words = [w for w in words if w.isascii() and not w.isspace() and "\n" not in w and "\r" not in w]

    def text(first: str = "") -> str:
        return first + " ".join(rng.choices(words, k=rng.randint(1, 25)))

    result = []
    for _ in range(count):
        turns = [{"role": "system", "content": text()}] if rng.random() < 0.4 else []
        for _ in range(rng.randint(1, 4)):
            turns += [{"role": "user", "content": text()}, {"role": "assistant", "content": text("So")}]
        result.append(turns[: -1 if rng.random() < 0.4 else None])
    return result
