"""Published ways of asking, by name: what `--protocol` sets, and in what an evaluation departs from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shoestring.evals.result import Asking

ProtocolName = Literal["", "deepseek"]


@dataclass(frozen=True)
class Protocol:
    """samples: of each problem, by benchmark; `otherwise` where the source names no number."""

    name: str
    temperature: float
    top_p: float
    max_tokens: int
    samples: Mapping[str, int]
    otherwise: int

    def k(self, suite: str) -> int:
        """Of a suite, by the word before its file."""
        return self.samples.get(suite.partition(":")[0], self.otherwise)

    def departures(self, asking: Asking, k: int, suite: str) -> tuple[str, ...]:
        """Each setting that isn't the protocol's, in words."""
        found = [
            f"{name} {given:g} instead of {own:g}"
            for name, given, own in (
                ("temperature", asking.temperature, self.temperature),
                ("top_p", asking.top_p, self.top_p),
                ("max_tokens", asking.max_tokens, self.max_tokens),
                ("k", k, self.k(suite)),
                ("few_shot", asking.few_shot, 0),
            )
            if given != own
        ]
        if asking.system is not None:
            found.append("a system prompt")
        return (
            *found,
            *(["lenient reading"] if asking.lenient else []),
            *(["tools"] if asking.tools else []),
        )


# DeepSeek-R1 (arXiv 2501.12948v2, appendix D.1, 2026-01): pass@1 as the mean over k samples and cons@k; the
# model card of 2025-01 says 64 samples for all. Where they name no number 16 is ours
PROTOCOLS: dict[str, Protocol] = {
    "deepseek": Protocol(
        "deepseek",
        temperature=0.6,
        top_p=0.95,
        max_tokens=32_768,
        samples={"aime": 64, "gpqa": 64, "math500": 16, "livecodebench": 8},
        otherwise=16,
    )
}
