"""The engine as a server watches it: what requests have made so far, and those that ended, without a step."""

from dataclasses import dataclass, field

from shoestring.engine.engine import Engine
from shoestring.engine.request import Completion


@dataclass(frozen=True)
class SoFar:
    """One sample's. The lists grow: read them before the next step."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[dict[int, float]] = field(default_factory=list)


class WatchedEngine(Engine):
    def progress(self, request: int) -> list[SoFar]:
        """Each of its samples: those that wait have made nothing, those that ended all."""
        found = self._requests[request]
        made = [SoFar()] * found.params.n
        for sample, done in found.done.items():
            made[sample] = SoFar(done.ids, done.logprobs, done.top_logprobs)
        for s in self.scheduler.running:
            if s.request is found:
                made[s.sample] = SoFar(s.ids, s.logprobs, s.top_logprobs)
        return made

    def take_finished(self) -> list[tuple[int, list[Completion]]]:
        """The requests that ended since this was asked last."""
        taken = []
        while self._finished:
            request = self._finished.popleft()
            self._requests.pop(request.id)
            taken.append((request.id, request.completions))
        return taken
