"""Check a server from outside: what of the API it keeps, one line a check."""

from typing import Any

from pydantic import Field
from rich.console import Console

from shoestring.serve.conformance import Finding, run, summary
from shoestring.serve.probe import Probe
from shoestring.settings import Settings

MARKS = {"passed": " ", "failed": "!", "skipped": "-"}


class ConformanceSettings(Settings):
    url: str
    model: str = ""
    only: tuple[str, ...] = ()
    timeout: float = Field(default=120, gt=0)


def main(settings: ConformanceSettings, console: Console, key: str = "") -> dict[str, Any]:
    def tell(f: Finding) -> None:
        detail = f": {f.detail}" if f.detail else ""
        console.print(
            f"{MARKS[f.verdict]} {f.name:<42} {f.seconds:6.1f} s  {f.verdict}{detail}", markup=False
        )

    probe = Probe(settings.url, key, settings.model, settings.timeout)
    found = summary(run(probe, settings.only, tell))
    console.print(
        f"{found['checks']} checks of {probe.model} at {settings.url}: {found['passed']} passed, "
        f"{found['failed']} failed, {found['skipped']} skipped",
        markup=False,
    )
    return {"url": settings.url, "model": probe.model, **found}
