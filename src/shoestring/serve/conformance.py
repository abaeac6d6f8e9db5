"""What a server for reasoning models is expected to do, as checks that run against any URL."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shoestring.errors import BadInput, ShoestringError
from shoestring.serve import (
    conformance_basics,
    conformance_errors,
    conformance_streams,
    conformance_structure,
    conformance_thinking,
)
from shoestring.serve.probe import Failed, Probe, Skipped
from shoestring.settings import nearest

Check = Callable[[Probe], None]
Verdict = Literal["passed", "failed", "skipped"]
ROOMS = (
    conformance_basics,
    conformance_streams,
    conformance_thinking,
    conformance_structure,
    conformance_errors,
)


@dataclass(frozen=True)
class Finding:
    name: str
    asks: str  # what the check asks of a server
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0


def checks() -> dict[str, Check]:
    """By name, in the order in which they are written down."""
    found: dict[str, Check] = {}
    for room in ROOMS:
        for check in room.CHECKS:
            found[check.__name__] = check
    return found


def run(probe: Probe, only: Sequence[str], tell: Callable[[Finding], None]) -> list[Finding]:
    """Raises BadInput for a check that isn't there, ShoestringError where nothing listens."""
    known = checks()
    for name in only:
        if name not in known:
            raise BadInput(f"there is no check '{name}'{nearest(name, list(known))}")
    findings = []
    assert probe.model
    for name, check in known.items():
        if not only or name in only:
            findings.append(_one(probe, name, check))
            tell(findings[-1])
    return findings


def _one(probe: Probe, name: str, check: Check) -> Finding:
    start = time.monotonic()
    verdict, detail = "passed", ""
    try:
        check(probe)
    except Failed as error:
        verdict, detail = "failed", str(error)
    except Skipped as error:
        verdict, detail = "skipped", str(error)
    except ShoestringError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        verdict, detail = "failed", f"the reply isn't in the API's shape ({type(error).__name__}: {error})"
    asks = " ".join((check.__doc__ or "").split())
    return Finding(name, asks, verdict, " ".join(detail.split())[:240], time.monotonic() - start)


def summary(findings: Sequence[Finding]) -> dict[str, Any]:
    counts = {v: sum(f.verdict == v for f in findings) for v in ("passed", "failed", "skipped")}
    listed = [f.__dict__ | {"seconds": round(f.seconds, 3)} for f in findings]
    return {"checks": len(findings), **counts, "findings": json.loads(json.dumps(listed))}
