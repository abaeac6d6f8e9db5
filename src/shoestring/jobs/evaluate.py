"""Evaluate models: each on each suite, in each way of asking, all on the same held-out problems."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shoestring.engine.generator import Generator
from shoestring.errors import BadInput, Interrupted
from shoestring.evals.ask import Replies, ask, check, check_scorable, opening
from shoestring.evals.chat_check import ChatCheckResult, chat_check
from shoestring.evals.confidence import with_confidence
from shoestring.evals.contamination import against_hash
from shoestring.evals.evaluate import mark, sureness
from shoestring.evals.identity_check import IdentityResult, identity_check
from shoestring.evals.partial import Partial
from shoestring.evals.receipt import Made, made_by
from shoestring.evals.result import Asking, EvalResult
from shoestring.evals.server import Server
from shoestring.jobs.eval_results import join_items, mark_best, meter, meter_replies, with_worth_here
from shoestring.jobs.evaluate_server import REPLIES, endpoint_of, evaluate_server, is_server
from shoestring.jobs.evaluate_settings import EvaluateSettings
from shoestring.jobs.handles import HERE, Handles
from shoestring.lm import LanguageModel, load
from shoestring.remote.endpoint import Endpoint, checked_key
from shoestring.remote.model import identity_of
from shoestring.run import Stage, saving, write_atomic
from shoestring.tasks.draw import check_file, check_room
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import parse_suite
from shoestring.tasks.tools import open_tools


@dataclass(frozen=True)
class Unit:
    """One model on one suite, asked in one way: what a kill loses at most."""

    label: str
    suite: str
    variant: str
    asking: Asking
    n: int
    k: int


def main(
    settings: EvaluateSettings,
    stage: Stage,
    handles: Handles = HERE,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Each prompt's replies are written when they are done, and each unit's result; a resumed stage does what
    is missing. `say` takes the results' lines in the place of the stage."""
    units = plan(settings)
    folder = stage.folder / "evals"
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    chats: dict[str, Any] = {}
    identities: dict[str, Any] = {}
    with handles.judge(settings.workers) as judge:
        for label, name in settings.models.items():
            bench = Bench(label, name, settings, stage, handles, judge, folder, say or stage.say)
            results += [bench.unit(unit) for unit in units if unit.label == label]
            if settings.chat_check:
                chats[label] = bench.chat()
            if settings.identity_check:
                identities[label] = bench.identity()
    mark_best(results)
    for whole in folder.glob(".replies-*.jsonl"):
        whole.unlink()
    result = {"evals": results, "chat": chats, "identity": identities}
    return result | ({"items": join_items(folder, results)} if results else {})


def plan(settings: EvaluateSettings) -> list[Unit]:
    """Every unit in order. Bad suites and numbers are refused here, before any model is loaded."""
    open_tools(settings.tools, settings.max_tool_calls)  # refused where nothing can isolate
    units = []
    for label, model in settings.models.items():
        if is_server(model):
            checked_key(check_server(label, model, settings))
        elif label in settings.servers:
            raise BadInput(f"servers.{label}: {model} is no server's address, as in http://host:8000/v1#name")
        ways = settings.variants if label in settings.best_of else [None]
        for text in settings.suites:
            suite = parse_suite(text)
            check_scorable(suite)
            n, k = settings.num_problems(suite), settings.num_samples(suite)
            there = suite.num_tested
            if there is None:  # a file is what it is; a level can be widened
                check_room(suite, n)
            else:
                check_file(suite, there, n)
            for way in ways:
                unit = Unit(label, str(suite), way.name if way else "", settings.asking(way), n, k)
                check(n, k, unit.asking)
                if unit.asking.few_shot:
                    opening(suite, unit.asking, settings.seed)  # are there examples to be shown?
                units.append(unit)
    return units


def check_server(label: str, model: str, settings: EvaluateSettings) -> Endpoint:
    """Refused before anything is paid for."""
    if settings.tools or settings.chat_check or settings.identity_check or settings.quantize:
        raise BadInput(
            f"{label} is a server: tools, quantize, chat_check and identity_check are for models in this "
            "process; give it a stage of its own"
        )
    return endpoint_of(model, settings.servers.get(label, {}), f"servers.{label}")


class Bench:
    """One model with its engine, loaded when the first unit that isn't done yet needs it."""

    def __init__(
        self,
        label: str,
        model: str,
        settings: EvaluateSettings,
        stage: Stage,
        handles: Handles,
        judge: Judge,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.label, self.model, self.settings = label, model, settings
        self.stage, self.judge, self.folder, self.say = stage, judge, folder, say
        self.handles = handles
        self._loaded: tuple[LanguageModel, Generator] | None = None
        self._made: Made | None = None  # the model, looked over once
        self._asked: dict[tuple[str, Asking], Replies] = {}
        self._server: Server | None = None
        if is_server(model):
            self._server = Server(check_server(label, model, settings), folder / REPLIES)

    def loaded(self) -> tuple[LanguageModel, Generator]:
        if self._loaded is None:
            if self.stage.stop_requested:
                raise Interrupted(f"stopped before {self.label}")
            s = self.settings
            lm = load(self.model, dtype=s.dtype, device=s.device, quantize=s.quantize)
            self._loaded = lm, self.handles.generator(lm)
        return self._loaded

    def unit(self, unit: Unit) -> dict[str, Any]:
        identity = self._identity(unit) | {"unit": repr(unit)}
        identity |= {"confidence": True} if self.settings.confidence else {}
        if self.settings.against:
            identity |= {"against": against_hash(self.settings.against)}
        path = self._path(f"{unit.label}-{unit.suite}-{unit.variant}", identity)
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        result = self.result(unit)
        with saving(path):
            result.save_items(path.with_suffix(".parquet"))
        names = {"model": unit.label, "variant": unit.variant, "best": True, "rows": path.stem + ".parquet"}
        values = {**result.to_json(), **names}
        write_atomic(path, json.dumps(values, indent=2) + "\n")
        self.say(f"{unit.label}{' / ' + unit.variant if unit.variant else ''}: {result.line()}")
        for note in result.notes():
            self.say(f"  {note}")
        return values

    def result(self, unit: Unit) -> EvalResult:
        s, suite = self.settings, parse_suite(unit.suite)
        if self._server is not None:
            how = unit.n, unit.k, s.seed, unit.asking
            return evaluate_server(self._server, suite, *how, self.judge, self.stage, s.confidence, s.against)
        lm, engine = self.loaded()
        replies = self.replies(unit)
        result = with_worth_here(mark(lm, replies, unit.asking.lenient, self.judge, s.against), s.prices)
        if not s.confidence:
            return result
        start = time.perf_counter()
        sure = sureness(lm, engine, replies, self.stage)
        meter(self.stage, lm, "confidence", time.perf_counter() - start, sure.work)
        return with_confidence(result, sure)

    def replies(self, unit: Unit) -> Replies:
        """Asked once where units differ in the reading alone."""
        key = (unit.suite, replace(unit.asking, lenient=False))
        if key not in self._asked:
            lm, engine = self.loaded()
            self._made = self._made or made_by(lm)
            suite, partial = parse_suite(unit.suite), self._partial(unit)
            args = (lm, suite, unit.n, unit.k, self.settings.seed, unit.asking, engine, self.stage)
            replies = ask(*args, self._made, partial)
            meter_replies(self.stage, lm, replies)
            self._asked[key] = replies
        return self._asked[key]

    def _partial(self, unit: Unit) -> Partial:
        """What an earlier start, killed in the middle of these replies, had made of them."""
        asked = repr((unit.suite, replace(unit.asking, lenient=False), unit.n, unit.k))
        identity = json.dumps(self._identity(unit) | {"asked": asked}, sort_keys=True)
        mark = hashlib.sha256(identity.encode()).hexdigest()[:8]
        found = Partial(self.folder / f".replies-{mark}.jsonl", identity)
        if len(found):
            self.stage.say(f"{unit.suite}: going on after {len(found)} of {unit.n} problems")
        return found

    def _identity(self, unit: Unit) -> dict[str, Any]:
        s = self.settings
        found = {"model": self.model, "n": unit.n, "k": unit.k, "seed": s.seed, "dtype": s.dtype}
        found |= {"server": identity_of(self._server.endpoint)} if self._server else {}
        return found | ({"quantize": s.quantize} if s.quantize else {})

    def chat(self) -> dict[str, Any]:
        cap = self.settings.chat_max_tokens
        return self._check("chat", cap, lambda lm, engine: chat_check(lm, engine, cap, self.stage))

    def identity(self) -> dict[str, Any]:
        cap = self.settings.identity_max_tokens
        return self._check("identity", cap, lambda lm, engine: identity_check(lm, engine, cap, self.stage))

    def _check(
        self,
        kind: str,
        cap: int,
        make: Callable[[LanguageModel, Generator], ChatCheckResult | IdentityResult],
    ) -> dict[str, Any]:
        identity = {"model": self.model, "cap": cap, "dtype": self.settings.dtype}
        path = self._path(f"{self.label}-{kind}", identity)
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        lm, engine = self.loaded()
        result = make(lm, engine)
        meter(self.stage, lm, kind, result.seconds, result.work)
        with saving(path):
            result.save_rows(path.with_suffix(".parquet"))
        values = {**result.to_json(), "rows": path.stem + ".parquet"}
        write_atomic(path, json.dumps(values, indent=2) + "\n")
        self.say(f"{self.label}: {result.line()}")
        return values

    def _path(self, name: str, identity: dict[str, Any]) -> Path:
        """A readable name, and a hash of all that changes the result: other settings, another unit."""
        mark = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.=]+', '-', name).strip('-')}-{mark}.json"
