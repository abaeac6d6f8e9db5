"""The page of several servers' conformance, each as `shoestring bench conformance URL --json FILE` kept it:

    python benchmarks/conformance.py shoestring=ours.json llama.cpp=theirs.json > docs/conformance.md

To each file `server` (its version and flags), `model` and `date` are added by hand: a server doesn't tell
them."""

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Servers for reasoning models, checked

What `shoestring bench conformance URL` found, one column a server, asked about the same model on the same
machine. A check is skipped where the server says that it doesn't do what is asked. The checks ask for what
OpenAI and the reasoning servers of DeepSeek, vLLM and llama.cpp document, as Shoestring's authors see it:
a failed check is a difference to what is asked here, which may be meant.
"""


def page(servers: dict[str, dict[str, Any]]) -> str:
    """servers: by name, what was kept of each. Their lists of checks must be the same."""
    names = [[finding["name"] for finding in kept["findings"]] for kept in servers.values()]
    if any(other != names[0] for other in names[1:]):
        raise SystemExit("the servers weren't asked the same checks: run them with one version")
    told = [f"- {name}: {kept['server']}; {kept['model']}; {kept['date']}" for name, kept in servers.items()]
    lines = [HEAD, *told, "", "| | checks | passed | failed | skipped |", "|---|---:|---:|---:|---:|"]
    for name, kept in servers.items():
        counts = " | ".join(str(kept[what]) for what in ("checks", "passed", "failed", "skipped"))
        lines.append(f"| {name} | {counts} |")
    lines += ["", f"| check | it asks | {' | '.join(servers)} |", f"|---|---|{'---|' * len(servers)}"]
    for rows in zip(*(kept["findings"] for kept in servers.values()), strict=True):
        told = " | ".join(_cell(row) for row in rows)
        lines.append(f"| {rows[0]['name']} | {_plain(rows[0]['asks'])} | {told} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any]) -> str:
    if row["verdict"] == "passed":
        return "passed"
    verdict = "**failed**" if row["verdict"] == "failed" else row["verdict"]
    return f"{verdict}: {_plain(row['detail'])}" if row["detail"] else verdict


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if not given:
        raise SystemExit(__doc__)
    print(page({name: json.loads(Path(file).read_text()) for name, file in given.items()}), end="")


if __name__ == "__main__":
    main()
