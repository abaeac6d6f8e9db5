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
    def so_far(self) -> dict[int, list[SoFar]]:
        """By request that runs, each of its samples: those that wait have made nothing, those that ended
        all."""
        found: dict[int, list[SoFar]] = {}
        for sequence in self.scheduler.running:
            request = sequence.request
            if request.id not in found:
                found[request.id] = [SoFar()] * request.params.n
                for sample, done in request.done.items():
                    found[request.id][sample] = SoFar(done.ids, done.logprobs, done.top_logprobs)
            tops = sequence.top_logprobs
            found[request.id][sequence.sample] = SoFar(sequence.ids, sequence.logprobs, tops)
        return found

    def take_finished(self) -> list[tuple[int, list[Completion]]]:
        """The requests that ended since this was asked last."""
        taken = []
        while self._finished:
            request = self._finished.popleft()
            self._requests.pop(request.id)
            taken.append((request.id, request.completions))
        return taken
