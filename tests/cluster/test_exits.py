import subprocess
import sys
import time

import pytest

from shoestring.cluster.exits import ending, watch


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL)"),
        ("import os; os.kill(os.getpid(), 40)", "signal 40"),
    ],
)
def test_how_a_process_ended_is_known_from_outside(code, told):
    waiting = subprocess.Popen([sys.executable, "-c", f"input(); {code}"], stdin=subprocess.PIPE)
    watched = watch(waiting.pid)
    if watched is None:
        pytest.skip("this system has no pidfd")
    assert ending(watched) == ""
    waiting.communicate(b"\n")
    time.sleep(0.01)
    if ending(watched) == "":
        pytest.skip("this kernel doesn't keep exit codes (6.15 and later do)")
    assert ending(watched) == told


def test_one_that_is_gone_already_can_not_be_watched():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert watch(done.pid) is None
