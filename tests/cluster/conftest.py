from collections.abc import Iterator
from typing import Any

import pytest

from ray_runs import small_ray


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A small Ray on this machine for all tests of a file, which are skipped without Ray."""
    pytest.importorskip("ray")
    with small_ray() as module:
        yield module
