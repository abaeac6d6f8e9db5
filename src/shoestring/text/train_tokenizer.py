"""A tokenizer of one's own: byte-level BPE learnt from texts, with DeepSeek's special tokens, and the chat
template that goes with them.

Every text comes back as it went in: all 256 bytes are tokens, and nothing is normalised. How text is cut
before merging is one of the ways llama.cpp knows by name, so that an export is read as it was trained."""

from collections.abc import Iterable, Iterator
from typing import Literal

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from shoestring.errors import BadInput
from shoestring.text.gguf_vocab import SPLITS
from shoestring.text.stream import CLOSE, OPEN
from shoestring.text.tokenizer import SpecialTokens, Tokenizer

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
SPECIAL = (BOS, EOS, PAD, USER, ASSISTANT)  # ids 0 to 4
THINKING = (OPEN, CLOSE)  # the last two ids; plain tokens, so that no reader strips them from a reply
LEAST_VOCAB = 256 + len(SPECIAL) + len(THINKING)
LEAST_COUNT = 2  # a pair that was seen once is no habit of the language

PreTokenizer = Literal["qwen2", "deepseek-v3"]

# The model opens <think> itself. Thinking is written where it comes after the last user's turn, and dropped
# from all turns before. What it can't write faithfully it refuses.
CHAT_TEMPLATE_SOURCE = """{%- set ns = namespace(last_user=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{%- set ns.last_user = loop.index0 %}{%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'system' and loop.first %}
        {{- m.content }}
    {%- elif m.role == 'system' %}
        {{- raise_exception('the system message must come first, and there can be only one') }}
    {%- elif m.role == 'user' %}
        {{- '<｜User｜>' + m.content }}
    {%- elif m.role == 'assistant' %}
        {%- set said = m.content %}
        {%- if loop.index0 < ns.last_user and '</think>' in said %}
            {%- set said = said.split('</think>')[-1].lstrip('\\n') %}
        {%- elif loop.index0 > ns.last_user and m.reasoning_content is string and m.reasoning_content %}
            {%- set said = '<think>\\n' + m.reasoning_content + '\\n</think>\\n' + said %}
        {%- endif %}
        {{- '<｜Assistant｜>' + said + eos_token }}
    {%- else %}
        {{- raise_exception('no turn of role "' + m.role + '": system, user and assistant are known') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜>' }}{%- endif %}"""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, pre: PreTokenizer = "qwen2", max_length: int | None = None
) -> Tokenizer:
    """The tokenizer of exactly `vocab_size` ids that `texts` give; the same texts in any order give the same
    one. `pre` says how text is cut: "qwen2" makes every digit a token, which small models add better with,
    "deepseek-v3" takes up to three together. `max_length` is only recorded. Raises BadInput where the
    vocabulary is too small for its bytes or too large for the texts."""
    if vocab_size < LEAST_VOCAB:
        raise BadInput(
            f"vocab_size {vocab_size} is too small: 256 bytes and {LEAST_VOCAB - 256} special tokens "
            f"need at least {LEAST_VOCAB}"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[pre]]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, last])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(THINKING),
        min_frequency=LEAST_COUNT,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    counted = _Counted(texts)
    backend.train_from_iterator(iter(counted), trainer)
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in THINKING])
    size = backend.get_vocab_size(with_added_tokens=True)
    if size != vocab_size:
        raise BadInput(
            f"the {counted.texts} texts ({counted.characters} characters) give only {size - LEAST_VOCAB} "
            f"merges and vocab_size {vocab_size} needs {vocab_size - LEAST_VOCAB}: "
            f"give more text, or set vocab_size to at most {size}"
        )
    return Tokenizer(backend, SpecialTokens(bos=BOS, eos=EOS, pad=PAD), max_length)


class _Counted:
    """What went through, for the error that says it was too little."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._source = texts
        self.texts = self.characters = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._source:
            self.texts += 1
            self.characters += len(text)
            yield text
