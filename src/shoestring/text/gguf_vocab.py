"""The tokenizer that a GGUF file's metadata describes, built as a `tokenizers` one. Each
`tokenizer.ggml.pre` names how text is split before merging; an unknown name is refused, since a wrong
split gives plausible wrong ids."""

from collections.abc import Iterable, Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from shoestring.errors import BadInput
from shoestring.text.tokenizer import SpecialTokens, Tokenizer
from shoestring.text.tokenizer_files import choose_pad

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.cpp's token types
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CASED_LETTERS = (  # of Unicode as the DeepSeek-LLM tokenizer froze it
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄ"
    "Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
CJK = "[一-龥ࠀ-一가-\ud7ff]+"


def _words(digits: str) -> str:
    """The split of the GPT-4 line of tokenizers; `digits` is how numbers are cut."""
    return rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"


QWEN2, LLAMA3 = (_words(r"\p{N}"),), (_words(r"\p{N}{1,3}"),)
DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}",
)
DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{CASED_LETTERS}]+",
    "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
    r"\s+$",
    CJK,
    r"\p{N}",
)
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}")
# pre -> patterns applied one after the other; what a pattern matches is cut out. None: GPT-2's own split
SPLITS: dict[str, tuple[str, ...]] = {
    "llama-bpe": LLAMA3,
    "llama3": LLAMA3,
    "llama-v3": LLAMA3,
    "qwen2": QWEN2,
    "deepseek-r1-qwen": QWEN2,
    "deepseek-v3": DEEPSEEK3,
    "deepseek-llm": DEEPSEEK_LLM,
    "deepseek-coder": DEEPSEEK_CODER,
}
GPT2_SPLITS = {"gpt-2", "default"}
DIGITS_THEN_GPT2 = {"smollm", "starcoder", "refact", "command-r"}
IGNORE_MERGES = {"llama-bpe", "llama3", "llama-v3"}  # a word that is a token is taken whole


def tokenizer_from_gguf(
    metadata: Mapping[str, Any], where: str, end_ids: Iterable[int]
) -> tuple[Tokenizer, str | None]:
    """The tokenizer and the chat template (None: it has none). Raises BadInput, one line."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        raise BadInput(f"{where} carries no tokenizer (tokenizer.ggml.tokens)")
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "gpt2":
        backend = _byte_level(metadata, tokens, where)
    elif kind == "llama":
        backend = _sentence_piece(metadata, tokens, where)
    else:
        raise BadInput(f"{where}: tokenizer model {kind!r} is not supported; supported: gpt2, llama")
    _add_special(backend, metadata, tokens)

    def named(key: str) -> str | None:
        token = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if token is None:
            return None
        if not isinstance(token, int) or not 0 <= token < len(tokens):
            raise BadInput(
                f"{where}: tokenizer.ggml.{key}_token_id = {token!r} is no id of its {len(tokens)} tokens"
            )
        return tokens[token]

    names = SpecialTokens(named("bos"), named("eos"), named("unknown"), named("padding"))
    if metadata.get("tokenizer.ggml.add_bos_token", kind == "llama") and names.bos:
        pair = (names.bos, metadata["tokenizer.ggml.bos_token_id"])
        backend.post_processor = processors.TemplateProcessing(
            single=f"{names.bos} $A", pair=f"{names.bos} $A {names.bos} $B", special_tokens=[pair]
        )
    chat_template = metadata.get("tokenizer.chat_template")
    length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    return Tokenizer(backend, choose_pad(backend, names, end_ids, chat_template), length), chat_template


def pre_tokenizer_of(pre: str) -> pre_tokenizers.PreTokenizer | None:
    """How `tokenizer.ggml.pre` says that text is cut; None for a name that isn't known."""
    if pre in GPT2_SPLITS:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre in DIGITS_THEN_GPT2:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if pre in SPLITS:
        cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[pre]]
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([*cuts, last])
    return None


def _byte_level(metadata: Mapping[str, Any], tokens: list[str], where: str) -> tokenizers.Tokenizer:
    pre = metadata.get("tokenizer.ggml.pre", "default")
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(m.split(" ", 1)) for m in metadata.get("tokenizer.ggml.merges", [])]
    try:
        model = models.BPE(vocab=vocab, merges=merges, ignore_merges=pre in IGNORE_MERGES)
    except Exception as error:  # the library raises plain Exception
        reason = str(error).splitlines()[0]
        raise BadInput(f"{where}: the tokenizer's merges don't fit its tokens: {reason}") from None
    backend = tokenizers.Tokenizer(model)
    cut = pre_tokenizer_of(pre)
    if cut is None:
        known = ", ".join(sorted(GPT2_SPLITS | DIGITS_THEN_GPT2 | set(SPLITS)))
        raise BadInput(f"{where}: pre-tokenizer {pre!r} is not supported; supported: {known}")
    backend.pre_tokenizer = cut
    if SPLITS.get(pre) is QWEN2:
        backend.normalizer = normalizers.NFC()  # as the original tokenizer does
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentence_piece(metadata: Mapping[str, Any], tokens: list[str], where: str) -> tokenizers.Tokenizer:
    """SentencePiece BPE: two neighbours merge when their joint is a token, best score first."""
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise BadInput(f"{where}: the tokenizer's scores are missing or not one per token")
    vocab = {token: i for i, token in enumerate(tokens)}
    found = [
        (-scores[i], len(token[:cut]), i, token[:cut], token[cut:])
        for token, i in vocab.items()
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]
    merges = [(left, right) for *_, left, right in sorted(found)]
    unk = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    model = models.BPE(vocab=vocab, merges=merges, unk_token=tokens[unk], fuse_unk=True, byte_fallback=True)
    backend = tokenizers.Tokenizer(model)
    space: list[normalizers.Normalizer] = [normalizers.Replace(" ", "▁")]
    strip = []
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        space.insert(0, normalizers.Prepend("▁"))
        strip.append(decoders.Strip(" ", 1, 0))
    backend.normalizer = normalizers.Sequence(space)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend


def _add_special(backend: tokenizers.Tokenizer, metadata: Mapping[str, Any], tokens: list[str]) -> None:
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    control = {i for i, t in enumerate(types) if t in (CONTROL, UNKNOWN)}
    for i in sorted(control):
        backend.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False)])
    own = [tokens[i] for i, t in enumerate(types) if t == USER_DEFINED]
    backend.add_tokens([AddedToken(t, special=False, normalized=False) for t in own])
