"""Names under which language models and their makers go, in Latin and in Chinese letters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Family:
    """`others`: names that are words besides, or rare; they say something only in a sentence that claims
    them."""

    models: tuple[str, ...]
    makers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # of models

    @property
    def all_models(self) -> tuple[str, ...]:
        return self.models + self.others


# the keys are what a base is looked for by (`evals/identity.py`), so none may stand inside a common word
FAMILIES: dict[str, Family] = {
    "smollm": Family(("SmolLM",), ("Hugging Face", "HuggingFace"), ("Zephyr", "HuggingChat")),
    "qwen": Family(
        ("Qwen", "Tongyi", "通义千问", "通义", "千问", "QwQ"),
        ("Alibaba Cloud", "Alibaba", "阿里巴巴", "阿里云", "阿里", "达摩院"),
    ),
    "llama": Family(("Llama",), ("Meta AI", "Meta", "Facebook AI"), ("LLaMA", "LLAMA")),
    "deepseek": Family(("DeepSeek",), ("深度求索", "幻方"), ("Deep Seek",)),
    "openai": Family(
        ("ChatGPT", "GPT-3", "GPT-4o", "GPT-4", "GPT-5"),
        ("OpenAI", "Open AI"),
        ("GPT3", "GPT4", "GPT 3", "GPT 4", "Chat GPT", "gpt-oss", "InstructGPT", "GPT"),
    ),
    "anthropic": Family(("Claude",), ("Anthropic",), ("克劳德",)),
    "google": Family(
        ("Gemini", "Gemma", "Bard"),
        ("Google DeepMind", "Google", "DeepMind", "谷歌", "グーグル"),
        ("PaLM", "LaMDA"),
    ),
    "mistral": Family(("Mistral", "Mixtral"), ("Mistral AI",), ("Ministral", "Codestral", "Le Chat")),
    "microsoft": Family(
        ("Copilot", "Phi-3", "Phi-4"),
        ("Microsoft", "微软", "マイクロソフト"),
        ("Bing Chat", "Bing", "必应", "Phi", "Sydney"),
    ),
    "xai": Family(("Grok",), ("xAI",)),
    "baidu": Family(("ERNIE", "文心一言", "文心"), ("Baidu", "百度")),
    "zhipu": Family(("ChatGLM", "智谱清言", "GLM-4"), ("Zhipu AI", "Zhipu", "智谱AI", "智谱", "清华大学")),
    "moonshot": Family(("Kimi",), ("Moonshot AI", "月之暗面")),
    "bytedance": Family(("Doubao", "豆包"), ("ByteDance", "字节跳动", "火山引擎")),
    "tencent": Family(("Hunyuan", "混元"), ("Tencent", "腾讯")),
    "iflytek": Family(("讯飞星火", "星火认知"), ("iFlytek", "科大讯飞", "讯飞")),
    "baichuan": Family(("Baichuan", "百川"), ("百川智能",)),
    "internlm": Family(
        ("InternLM", "书生·浦语", "书生浦语", "浦语"),
        ("Shanghai AI Laboratory", "上海人工智能实验室"),
        ("SenseChat", "商量", "商汤科技", "商汤"),
    ),
    "minimax": Family(("MiniMax",), ("稀宇科技",), ("海螺AI",)),
    "stepfun": Family(("StepFun", "跃问"), ("阶跃星辰",)),
    "01-ai": Family(("Yi-34B",), ("01.AI", "零一万物"), ("Yi",)),
    "pangu": Family(("PanGu", "盘古大模型"), ("Huawei", "华为")),
    "command-r": Family(("Command R", "Aya"), ("Cohere",)),
    "falcon": Family((), ("Technology Innovation Institute", "TII"), ("Falcon",)),
    "lmsys": Family(("Vicuna",), ("LMSYS",), ("Alpaca", "Koala")),
    "open-assistant": Family(("Open Assistant", "OpenAssistant"), ("LAION",)),
    "inflection-ai": Family((), ("Inflection AI",), ("Pi",)),
    "perplexity-ai": Family((), ("Perplexity AI",), ("Perplexity",)),
    "stablelm": Family(("StableLM",), ("Stability AI",)),
    "nemotron": Family(("Nemotron",), ("NVIDIA", "英伟达")),
    "granite": Family((), ("IBM",), ("Granite", "Watson")),
    "amazon": Family(("Amazon Nova", "Alexa"), ("Amazon", "亚马逊")),
    "apple-siri": Family(("Siri",), ("Apple", "苹果公司")),
}

# ordinary words or first names when written small: these count only as they are spelled here
_AS_SPELLED = re.compile(
    r"Claude|Gemini|Gemma|Bard|Llama|LLaMA|LLAMA|Meta|Copilot|Mistral|Grok|Phi|Pi|Falcon|Alpaca|Koala|Aya|"
    r"Yi|Zephyr|"
    r"Siri|Granite|Watson|Bing|Apple|Amazon|Perplexity|Sydney|GPT|NVIDIA|IBM|TII"
)
# what may follow a name and belongs to it: a version, an edition, a company's second word
_TAIL = (
    r"(?:\.\d+)?(?:[- ]?[vVrR]?\d+(?:\.\d+)*[A-Za-z]?(?![A-Za-z]))?"
    r"(?:[ -](?:Sonnet|Haiku|Opus|Pro|Flash|Ultra|Nano|Large|Small|Medium|Turbo|Chat|Instruct|Coder|Max|Plus"
    r"|Mini|Bot|Inc|Cloud|Group|Labs|Research|AI|DeepMind|\d+[BM])\b)*"
)


@dataclass(frozen=True)
class Names:
    """The names but those of one's own. A text with a name has one of `spelled`, or in small letters one of
    `lower`."""

    pattern: re.Pattern[str]  # group "model" or "maker"
    spelled: tuple[str, ...]
    lower: tuple[str, ...]

    def maybe_in(self, text: str, lower: str) -> bool:
        return any(name in text for name in self.spelled) or any(name in lower for name in self.lower)


def families_but(*own: str) -> list[Family]:
    """`own`: one's own model's and maker's names; every family that one of them belongs to is left out."""
    mine = [name.casefold() for name in own if name]
    return [
        family
        for family in FAMILIES.values()
        if not any(
            name.startswith(known.casefold()) for name in mine for known in (*family.models, *family.makers)
        )
    ]


@cache
def names_but(*own: str) -> Names:
    """Of `families_but` these."""
    return _names(families_but(*own))


@cache
def names_of(key: str) -> Names:
    """Those of one family."""
    return _names([FAMILIES[key]])


def _names(families: Sequence[Family]) -> Names:
    models = [name for family in families for name in family.all_models]
    makers = [name for family in families for name in family.makers]
    kinds = [(kind, own) for kind, own in (("model", models), ("maker", makers)) if own]
    pattern = re.compile("|".join(f"(?P<{kind}>{_either(own)})" for kind, own in kinds))
    spelled = {name for name in (*models, *makers) if _AS_SPELLED.fullmatch(name)}
    lower = {name.lower() for name in (*models, *makers) if name not in spelled}
    return Names(pattern, _shortest(spelled), _shortest(lower))


def _shortest(names: set[str]) -> tuple[str, ...]:
    """Without those that have a shorter one in them: where they are, it is too."""
    return tuple(sorted(n for n in names if not any(other != n and other in n for other in names)))


def _either(names: list[str]) -> str:
    longest_first = sorted(names, key=len, reverse=True)
    spelled = "|".join(
        re.escape(n) if _AS_SPELLED.fullmatch(n) else f"(?i:{re.escape(n)})" for n in longest_first
    )
    return rf"(?<![A-Za-z])(?:{spelled})(?![a-z]){_TAIL}"
