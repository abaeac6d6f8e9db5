"""Scorers that misbehave, for the judge: what the reply says decides how."""

import os
import sys
import time

from shoestring.tasks.base import Problem
from shoestring.text.message import Reply


def act(problem: Problem, reply: Reply) -> float:
    match reply.answer.split():
        case ["hang"]:
            time.sleep(1000)
        case ["spin"]:
            while True:
                pass
        case ["raise"]:
            raise RuntimeError("no idea " * 1000)
        case ["die"]:
            os._exit(7)
        case ["leave"]:
            sys.exit(3)
        case ["kill"]:
            os.kill(os.getpid(), 11)
        case ["print"]:
            print("x" * 10_000_000, flush=True)
            os.write(1, b'{"index": 0, "outcome": "right"}\n' * 1000)
        case ["memory"]:
            bytearray(1 << 40)
        case ["nan"]:
            return float("nan")
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["half"]:
            return 0.5
        case ["torch"]:
            return float("torch" in sys.modules)
        case ["pid"]:
            raise LookupError(str(os.getpid()))
        case ["once", path]:  # hangs the first time only
            if not os.path.exists(path):
                open(path, "w").close()
                time.sleep(1000)
    return 1.0
