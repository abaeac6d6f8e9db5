"""Held-out problems put to a model behind an endpoint: the same problems and prompts as a model here gets,
the same judge. Every reply is kept the moment it comes, so that none is paid for twice."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shoestring.errors import BadInput, Interrupted, ShoestringError
from shoestring.evals.ask import check, check_scorable, opening
from shoestring.evals.marking import Spoken, items_of
from shoestring.evals.receipt import made_there
from shoestring.evals.result import Asking, EvalResult
from shoestring.evals.server_facts import ServerFacts, facts_of
from shoestring.evals.whole import result_of
from shoestring.remote.asked import STOPPED, Answer, Ask, Asked, Sampling
from shoestring.remote.endpoint import Endpoint, checked_key
from shoestring.remote.model import RemoteModel, identity_of
from shoestring.remote.spending import Budget
from shoestring.remote.store import Store, spent
from shoestring.run import Stage, held
from shoestring.tasks.base import Problem
from shoestring.tasks.draw import draw_problems
from shoestring.tasks.judge import Judge
from shoestring.tasks.suite import Suite
from shoestring.text.message import Reply, user
from shoestring.text.stream import CLOSE, OPEN

NO_REPLY = Answer("", 0, None, "", "refused", 0, 0, "")
Got = Answer | str  # a reply, or why the server refused the prompt


@dataclass(frozen=True)
class ServerReplies:
    """What a server's model said, not judged yet. said[i] are the k replies to problems[i]."""

    suite: Suite
    problems: list[Problem]
    said: list[list[Got]]
    k: int
    seed: int
    asking: Asking
    seconds: float
    facts: ServerFacts


class Server:
    """`folder`: where replies are kept; those that it has, asked for in the same way, aren't asked for
    again. Raises BadInput where the key's variable isn't set."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint, self.folder, self.key = endpoint, folder, checked_key(endpoint)

    def ask(
        self, suite: Suite, n: int, k: int, seed: int, asking: Asking, stage: Stage | None
    ) -> ServerReplies:
        """k replies to each of n held-out problems. Raises Interrupted or ShoestringError, with what came so
        far kept, where all can't be had; what the server refuses for its own prompt's sake is told apart."""
        start = time.perf_counter()
        check_server(n, k, asking)
        check_scorable(suite)
        problems = draw_problems(suite, "test", n, seed)
        head = opening(suite, asking, seed)
        asks = [Ask((*head, user(problem.prompt)), tuple(range(k))) for problem in problems]
        sampling = Sampling(asking.temperature, asking.top_p, asking.max_tokens, seed)
        said, facts = self.gather(asks, sampling, stage, "eval", str(suite))
        seconds = time.perf_counter() - start
        return ServerReplies(suite, problems, said, k, seed, asking, seconds, facts)

    def gather(
        self, asks: Sequence[Ask], sampling: Sampling, stage: Stage | None, kind: str, name: str
    ) -> tuple[list[list[Got]], ServerFacts]:
        """Each ask's samples in its numbers' order, and what is known of how they were had. What it takes
        goes into the stage's usage as `kind`, tokens and money and no operations: they are another
        machine's. An earlier start's is there already."""
        with held(self.folder / ".lock", wait=False) as mine:
            if not mine:
                raise BadInput(f"{self.folder}: another process is asking for these replies; wait for it")
            store = Store(self.folder, identity_of(self.endpoint), sampling)
            missing = store.missing(asks)
            wanted = {(ask.key, number) for ask in asks for number in ask.numbers}
            kept = len(wanted) - sum(len(ask.numbers) for ask in missing)
            round_ = _Round(self, store, sampling, stage, name, kept, len(wanted))
            try:
                asked = round_.run(missing)
            finally:
                round_.meter(kind)
            said: list[list[Got]] = []
            for ask in asks:
                said.append([_got(store, asked, ask.key, number) for number in ask.numbers])
        answers = {
            (one.key, one.number): one for several in said for one in several if isinstance(one, Answer)
        }
        refused = sum(isinstance(one, str) for several in said for one in several)
        facts = facts_of(self.endpoint, [*answers.values()], asked.faults, kept, refused, round_.lost)
        return said, facts


class _Round:
    """What is missing, asked for and kept as it comes."""

    def __init__(
        self,
        server: Server,
        store: Store,
        sampling: Sampling,
        stage: Stage | None,
        name: str,
        kept: int,
        total: int,
    ) -> None:
        self.server, self.store, self.sampling = server, store, sampling
        self.stage, self.name = stage, name
        self.done, self.total, self.tokens, self.read = kept, total, 0, 0
        self.lost: list[Answer] = []
        self.budget = Budget(server.endpoint)
        self.began = time.perf_counter()

    def run(self, missing: Sequence[Ask]) -> Asked:
        if not missing:
            return Asked()
        endpoint = self.server.endpoint
        self.budget.had(*spent(self.server.folder, endpoint.url))
        model = RemoteModel(endpoint, self.server.key, self.budget, self._lose, self._say)
        try:
            asked = model.ask(missing, self.sampling, self._take, self._stop)
        except ShoestringError as error:
            raise type(error)(f"{error}; {self._so_far()}") from None
        if asked.ended == STOPPED:
            raise Interrupted(f"stopped in {self.name}: {self._so_far()}")
        if asked.refused and not self.done:
            why = next(iter(asked.refused.values()))
            raise ShoestringError(f"endpoint {endpoint.url}: it refuses every prompt, the first for: {why}")
        lacking = asked.unanswered.total() - len(asked.refused)
        if asked.ended or lacking:
            faults = ", ".join(f"{fault} {count}" for fault, count in asked.unanswered.items())
            why = asked.ended or f"{lacking} replies could not be had ({faults})"
            raise ShoestringError(f"endpoint {endpoint.url}: {why}; {self._so_far()}")
        return asked

    def meter(self, kind: str) -> None:
        lost = sum(a.prompt_tokens + a.completion_tokens for a in self.lost)
        tokens, paid = self.read + self.tokens + lost, self.budget.take_paid()
        if self.stage is not None and (tokens or paid):
            seconds = time.perf_counter() - self.began
            self.stage.use(kind, seconds, tokens, wasted={"lost": lost} if lost else None, paid=paid)

    def _take(self, answer: Answer) -> None:
        self.store.add(answer)
        self.done += 1
        self.tokens += answer.completion_tokens
        self.read += answer.prompt_tokens
        if self.stage is not None:
            rate = self.tokens / max(time.perf_counter() - self.began, 1e-9)
            self.stage.progress(self.done, self.total, on=self.name, **{"tokens/s": rate})

    def _lose(self, attempt: Answer, fault: str) -> None:
        self.store.lose(attempt, fault)
        self.lost.append(attempt)

    def _say(self, text: str) -> None:
        if self.stage is not None:
            self.stage.say(text)

    def _stop(self) -> bool:
        return self.stage is not None and self.stage.stop_requested

    def _so_far(self) -> str:
        return (
            f"{self.done} of {self.total} replies are kept in {self.server.folder}: with --resume only the "
            "rest is asked for"
        )


def check_server(n: int, k: int, asking: Asking) -> None:
    check(n, k, asking)
    if asking.tools:
        raise BadInput("tools are called by models in this process; a server's model is asked without them")


def mark_server(
    replies: ServerReplies, lenient: bool, judge: Judge | None, against: Sequence[str] = ()
) -> EvalResult:
    """Judge and count, as `mark` does for a model here."""
    start = time.perf_counter()
    items = items_of(spoken_by_server(replies), lenient, judge)
    seconds = replies.seconds + time.perf_counter() - start
    asking = replace(replies.asking, lenient=lenient)
    made = made_there(replies.facts.model, replies.facts.url)
    asked = replies.suite, replies.k, replies.seed, asking, replies.problems, made
    return replace(result_of(*asked, items, seconds, against), server=replies.facts)


def spoken_by_server(replies: ServerReplies) -> list[Spoken]:
    found = []
    for problem, several in zip(replies.problems, replies.said, strict=True):
        for sample, got in enumerate(several):
            answer = got if isinstance(got, Answer) else NO_REPLY
            text = as_written(answer)
            found.append(
                Spoken(
                    problem=problem,
                    sample=sample,
                    reply=Reply(answer.reasoning, answer.answer, answer.cut),
                    written=text,
                    kept=text,
                    opened=False,
                    prompt_tokens=answer.prompt_tokens,
                    tokens=answer.completion_tokens,
                    finish_reason=answer.finish_reason,
                    refused=got if isinstance(got, str) else "",
                )
            )
    return found


def as_written(answer: Answer) -> str:
    """The reply with its thinking in tags: a server gives it apart. One that ended inside its thinking has no
    closing tag."""
    if answer.reasoning is None:
        return answer.answer
    closed = f"\n{CLOSE}\n\n{answer.answer}" if answer.answer or not answer.cut else ""
    return f"{OPEN}\n{answer.reasoning}{closed}"


def _got(store: Store, asked: Asked, key: str, number: int) -> Got:
    answer = store.get(key, number)
    return asked.refused[key, number] if answer is None else answer
