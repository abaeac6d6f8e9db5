"""Over which interface the ranks reach each other: two hosts made of network namespaces, without Ray. On both
/etc/hosts says of the own hostname what Debian's does: that it is loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch.distributed import HashStore

from shoestring.cluster.interface import NAME, address_towards, interface_of, reached_by_others
from two_hosts import HEAD, inside, linked, permitted

TESTS = Path(__file__).parents[1]
SRC = TESTS.parent / "src"
RANK = """
import sys, torch
from shoestring.cluster.world import join, meet_at

def main(rank, meet):
    world = join(rank, 2, meet_at(rank, 2, meet, 29517, 20.0), deadline_s=20.0, meet=meet)
    print(world.sum(torch.ones(())).item())
    world.close()

main(int(sys.argv[1]), sys.argv[2])  # nothing of torch's is left to end with the interpreter
"""


def test_loopback_is_found_by_its_address_and_nothing_by_a_strangers() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert interface_of("127.0.0.1") == ("lo" if sys.platform == "linux" else "")
    assert interface_of("192.0.2.1") == ""
    assert address_towards("no.such.host.invalid") == ""


@pytest.mark.parametrize("given", [None, "eth7"])
def test_on_one_host_nothing_is_set_and_what_the_user_set_stays(given, monkeypatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if given is not None:
        monkeypatch.setenv(NAME, given)
    with reached_by_others(0, 1, HashStore(), "127.0.0.1"):
        assert os.environ.get(NAME) == given


@contextmanager
def ended(processes: list[subprocess.Popen]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(not permitted(), reason="no network namespaces: they need root and iproute2")
@pytest.mark.parametrize("called", ["by its address", "by its name"])
def test_ranks_on_two_hosts_meet_where_the_hostname_is_loopback(called, tmp_path, monkeypatch) -> None:
    """By its name the first host takes itself for loopback, as torchrun's MASTER_ADDR there."""
    monkeypatch.setenv("PYTHONPATH", f"{SRC}:{TESTS}")
    own, meet = os.uname().nodename, HEAD if called == "by its address" else "head"
    run = 'mount --bind "$0" /etc/hosts && exec "$@"'  # ip netns exec gave it mounts of its own
    ranks: list[subprocess.Popen] = []
    with linked() as namespaces, ended(ranks):
        for rank, (namespace, head) in enumerate(zip(namespaces, ("127.0.1.1", HEAD), strict=True)):
            hosts = tmp_path / f"hosts-{rank}"
            hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {own}\n{head} head\n")
            command = ["sh", "-c", run, str(hosts), sys.executable, "-c", RANK, str(rank), meet]
            both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            ranks.append(inside(namespace, command, **both))
        said = [rank.communicate(timeout=90)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert [text.splitlines()[-1] for text in said] == ["2.0", "2.0"], said
