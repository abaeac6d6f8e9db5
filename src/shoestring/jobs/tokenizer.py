"""A tokenizer of one's own from the corpus that a model will be pretrained on."""

import time
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from shoestring.jobs.corpus_settings import CorpusSettings, check_corpus
from shoestring.jobs.pretrain_data import open_mixture
from shoestring.models.checkpoint import write_json
from shoestring.models.generation import GENERATION_CONFIG
from shoestring.run import Stage, replace_folder
from shoestring.settings import Settings
from shoestring.text.mixture import Mixture
from shoestring.text.train_tokenizer import CHAT_TEMPLATE_SOURCE, EOS, PreTokenizer, train_tokenizer


class TokenizerSettings(Settings):
    corpus: list[CorpusSettings] = Field(min_length=1)
    vocab_size: int = Field(default=4096, ge=1)
    pre: PreTokenizer = (
        "qwen2"  # how text is cut: "qwen2" makes every digit a token, "deepseek-v3" up to three
    )
    documents: int = Field(default=20000, ge=1)
    seed: int = 0


def check(settings: TokenizerSettings) -> object:
    """What can be refused before anything runs."""
    return check_corpus(settings.corpus)


def main(settings: TokenizerSettings, stage: Stage) -> dict[str, Any]:
    """The stage's model folder holds the tokenizer and its template, and no weights."""
    began = time.perf_counter()
    mixture = open_mixture(settings.corpus, settings.seed)
    tokenizer = train_tokenizer(_texts(mixture, settings.documents), settings.vocab_size, settings.pre)
    temporary = stage.folder / "model.tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    tokenizer.save(temporary, CHAT_TEMPLATE_SOURCE)
    write_json(temporary / GENERATION_CONFIG, {"eos_token_id": tokenizer.token_id(EOS)})
    replace_folder(temporary, stage.model_dir)
    stage.use("tokenizer", time.perf_counter() - began)
    return {"vocab_size": tokenizer.vocab_size, "documents": settings.documents}


def _texts(mixture: Mixture, documents: int) -> Iterator[str]:
    for _ in range(documents):
        document = mixture.next()
        if document.text is not None:
            yield document.text
        else:
            for message in document.messages or []:
                yield message.get("reasoning_content", "")
                yield message["content"]
