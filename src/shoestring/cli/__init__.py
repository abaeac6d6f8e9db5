"""The verbs, in the order in which help lists them. Each imports its one job when it is called, so that
`shoestring --help` is there at once."""

import os
import sys

from shoestring.cli import train, evaluate, use, audit, serve, release, cost, tools, claims  # isort: skip
from shoestring.cli.app import app

__all__ = ["app", "audit", "claims", "cost", "evaluate", "main", "release", "serve", "tools", "train", "use"]


def main() -> None:
    """Started by torchrun, only rank 0 does what the command says; the others train at its word."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        app()
        return
    from shoestring.cluster.torchrun import dismiss, follow_torchrun, place_here

    place = place_here()
    assert place is not None
    if place.rank:
        code = follow_torchrun(place)
        sys.stdout.flush()
        sys.stderr.flush()
        # at once: a thread of gloo's that lets go of a tensor while the interpreter is torn down aborts the
        # process ("terminate called without an active exception"), and torchrun then fails the whole run
        os._exit(code)
    try:
        app()
    finally:
        dismiss(place)
