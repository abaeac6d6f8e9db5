"""Replies written down as they come, so that an audit that was stopped, or whose server died, goes on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from shoestring.evals.respondent import Ask, Respondent, Said, Shown
from shoestring.origin import Lineage
from shoestring.run import append_line, read_lines, write_atomic

AT_ONCE = 128  # asked for together and then written down: what a stop loses at most


class KeptRespondent:
    """Asks `inner` for what `file` hasn't. `identity`: the model's weights or address and how it is asked;
    replies to another identity in the same file are left alone."""

    def __init__(self, inner: Respondent, file: Path, identity: str) -> None:
        self.inner, self.file, self.identity = inner, file, identity
        rows = read_lines(file)
        if rows and not file.read_bytes().endswith(
            b"\n"
        ):  # killed while it wrote: the next line stands alone
            write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        self._had = {row["key"]: Said(**row["said"]) for row in rows}
        self.found = 0  # of the replies given, those that an earlier start had

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def lineage(self) -> Lineage | None:
        return self.inner.lineage

    @property
    def switches(self) -> bool:
        return self.inner.switches

    @property
    def completes(self) -> bool:
        return self.inner.completes

    def ask(self, asks: Sequence[Ask], shown: Shown) -> list[Said]:
        keys = [self._key(ask) for ask in asks]
        missing = [(key, ask) for key, ask in zip(keys, asks, strict=True) if key not in self._had]
        done = len(asks) - len(missing)
        self.found += done
        made = 0
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            replies = self.inner.ask(
                [ask for _, ask in part],
                lambda had, _, tokens, was=done, had_made=made: shown(
                    was + had, len(asks), had_made + tokens
                ),
            )
            for (key, _), said in zip(part, replies, strict=True):
                append_line(self.file, {"key": key, "said": asdict(said)})
                self._had[key] = said
            done, made = done + len(part), made + sum(said.tokens for said in replies)
        return [self._had[key] for key in keys]

    def _key(self, ask: Ask) -> str:
        text = json.dumps([self.identity, asdict(ask)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]
