"""When a step's groups are sampled: when they are needed, or one step ahead, while the step before is trained
(on a cluster, where the two don't share processors). Samples are then of weights one version old, and never
of older ones: new weights are handed over only when the sampling under way is done."""

import copy
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from shoestring.errors import BadInput
from shoestring.rl.gather import Gathered, Sampler, gather
from shoestring.rl.settings import GRPOSettings
from shoestring.train.state import Stateful


class AsItWas:
    """A part's state at an earlier time, to be saved in its place."""

    def __init__(self, part: Stateful) -> None:
        self.part, self.state = part, copy.deepcopy(part.state_dict())

    def state_dict(self) -> Mapping[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.part.load_state_dict(state)


class Ahead:
    """With `steps` 0 it does nothing but gather."""

    def __init__(self, sampler: Sampler, steps: int) -> None:
        self.sampler, self.steps = sampler, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead") if steps else None
        self._under_way: tuple[int, int, Future[Gathered]] | None = None  # step, version, its groups
        self._before: dict[str, Stateful] = {}

    def take(self, step: int) -> tuple[Gathered, int]:
        """The step's groups, and the version of the weights that ought to have made them."""
        if self._under_way is not None:
            began, version, groups = self._under_way
            self._under_way, self._before = None, {}
            gathered = groups.result()
            if began == step:
                return gathered, version
        return gather(self.sampler, step), step - 1

    def begin(self, step: int, version: int, last: int) -> None:
        """Sample that step's groups from now on, with weights of `version`, which the generator has."""
        if self._thread is None or step > last:
            return
        streams = self.sampler.streams
        parts: dict[str, Stateful] = {"streams": streams, "curriculum": streams.curriculum}
        self._before = {name: AsItWas(part) for name, part in parts.items()}
        self._under_way = step, version, self._thread.submit(gather, self.sampler, step)

    def settle(self) -> None:
        """Wait until nothing is sampled, so that the generator can take weights. What went wrong is raised
        by `take`."""
        if self._under_way is not None:
            self._under_way[2].exception()

    def drop(self) -> None:
        """What was sampled ahead is of no use: the weights went back."""
        self.settle()
        self._under_way, self._before = None, {}

    def saved(self, parts: dict[str, Stateful]) -> dict[str, Stateful]:
        """The parts as they are to be saved: as before what is sampled ahead, which a resume samples anew."""
        return parts | self._before

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)


def check_ahead(settings: GRPOSettings, steps: int) -> None:
    """Raises BadInput where stale samples would be taken for fresh ones."""
    if steps and settings.loss.correction == "none":
        raise BadInput(
            f"--workers ahead={steps}: samples of older weights need a correction: add --set "
            "STAGE.loss.correction=token_tis (docs/losses.md), or leave out ahead"
        )
