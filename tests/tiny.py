"""A model of a few thousand weights with a byte tokenizer, and a generator that says what it is told to."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from shoestring.engine.request import Completion, FinishReason, SamplingParams
from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage, Stage
from shoestring.text.template import Template
from shoestring.text.tokenizer import SpecialTokens, Tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BASE = Stage(
    "smollm2-135m",
    "base",
    "2026-01-01T00:00:00+00:00",
    {"copy_of": "HuggingFaceTB/SmolLM2-135M-Instruct", "licence": "Apache-2.0", "precision": "4-bit copy"},
)


MARKERS = ("<|im_start|>", "<|im_end|>", "<pad>")


def tiny_tokenizer() -> Tokenizer:
    return byte_tokenizer()


def byte_tokenizer(
    merges: Sequence[tuple[str, str]] = (), order: int = 1, markers: Sequence[str] = MARKERS
) -> Tokenizer:
    """One id a byte, numbered in this order, then one a merge; markers begin a turn, end it and pad."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet())[::order], *(a + b for a, b in merges)]
    backend = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(words)}, list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(markers))
    return Tokenizer(backend, SpecialTokens(bos=markers[0], eos=markers[1], pad=markers[2]))


def tiny_lm(seed: int = 0, window: int = 2048, template: str = CHATML) -> LanguageModel:
    tokenizer = tiny_tokenizer()
    end = tokenizer.token_id("<|im_end|>")
    assert end is not None
    config = ModelConfig(
        model_type="llama",
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=window,
        tie_word_embeddings=True,
        initializer_range=0.2,
        eos_token_id=(end,),
    )
    network = Transformer(config)
    network.init_weights(seed)
    return LanguageModel(
        network, tokenizer, Template(tokenizer, template, (end,)), config, Lineage((BASE,)), "tiny"
    )


class Scripted:
    """A Generator whose reply is `say(conversation so far as text, sample)`; it answers in reverse order."""

    def __init__(self, lm: LanguageModel, say: Callable[[str, int], str]) -> None:
        self.lm, self.say = lm, say
        self.waiting: dict[int, tuple[list[int], SamplingParams]] = {}
        self.asked: list[tuple[str, SamplingParams, str]] = []
        self.aborted: list[int] = []
        self.version = 0

    def submit(self, prompt: Sequence[int], params: SamplingParams, key: str = "") -> int:
        self.asked.append((self.lm.tokenizer.decode(prompt), params, key))
        self.waiting[len(self.asked)] = (list(prompt), params)
        return len(self.asked)

    def completed(self) -> Iterator[tuple[int, list[Completion]]]:
        while self.waiting:
            number, (prompt, params) = self.waiting.popitem()
            yield number, [self._reply(prompt, params, sample) for sample in range(params.n)]

    def _reply(self, prompt: list[int], params: SamplingParams, sample: int) -> Completion:
        ids = self.lm.tokenizer.encode(self.say(self.lm.tokenizer.decode(prompt), sample))
        ids.append(self.lm.template.stop_ids[0])
        cut = len(ids) > params.max_tokens
        ids = ids[: params.max_tokens]
        reason = FinishReason.LENGTH if cut else FinishReason.STOP
        return Completion(ids, [0.0] * len(ids), "raw", reason, self.version)

    def stream(
        self, prompt: Sequence[int], params: SamplingParams, key: str = ""
    ) -> Generator[int, None, None]:
        self.asked.append((self.lm.tokenizer.decode(prompt), params, key))
        yield from self._reply(list(prompt), params, 0).ids

    def abort(self, request: int) -> None:
        self.aborted.append(request)
        self.waiting.pop(request, None)

    def generate(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams, keys: Sequence[str] | None = None
    ) -> list[list[Completion]]:
        ids = [self.submit(p, params, "") for p in prompts]
        done = dict(self.completed())
        return [done[i] for i in ids]

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """What it says doesn't come from weights."""
        self.version = version
