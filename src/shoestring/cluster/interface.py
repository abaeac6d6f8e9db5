"""The network interface over which the ranks talk. Left to itself Gloo takes the one of the hostname, which
Debian's /etc/hosts puts on loopback: there ranks of other hosts knock at their own door."""

import array
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

NAME = "GLOO_SOCKET_IFNAME"
SIOCGIFCONF = 0x8912  # netdevice(7): the IPv4 addresses of this machine, in ifreqs of 40 bytes
IFREQ, MOST = 40, 256
IPV6 = Path("/proc/net/if_inet6")


@contextmanager
def reached_by_others(rank: int, size: int, store: Store, meet: str) -> Iterator[None]:
    """The groups that are opened inside are reached over the interface that leads to the meeting address;
    what the user set stays. Where that is loopback for this rank (the address is its own host's name) it is
    the one that leads to a rank on another host; where all are on this one, nothing is set."""
    own = address_towards(meet)
    store.set(f"address/{rank}", own)
    if NAME in os.environ:
        yield
        return
    if _is_loopback(own):
        own = _towards_another_host(size, store)
    name = interface_of(own) if own else ""
    if not name:
        yield
        return
    os.environ[NAME] = name  # the only way in: process groups that torch makes by itself have no other
    try:
        yield
    finally:
        del os.environ[NAME]


def address_towards(host: str) -> str:
    """This machine's own address on the way to that host; "" where there is no way. Nothing is sent."""
    try:
        family, kind, _, _, to = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as asks:
            asks.connect(to)
            return asks.getsockname()[0]
    except OSError:
        return ""


def interface_of(address: str) -> str:
    """Its name; "" where none has this address, or the system isn't Linux."""
    if sys.platform != "linux":
        return ""
    wanted = ipaddress.ip_address(address).packed
    return next((name for name, packed in _addresses() if packed == wanted), "")


def _addresses() -> Iterator[tuple[str, bytes]]:
    found = array.array("B", bytes(IFREQ * MOST))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        asked = struct.pack("iL", len(found), found.buffer_info()[0])
        length, _ = struct.unpack("iL", fcntl.ioctl(asks, SIOCGIFCONF, asked))
    for at in range(0, length, IFREQ):
        one = found[at : at + IFREQ].tobytes()
        label = one[:16].split(b"\0")[0].decode()
        yield label.split(":")[0], one[20:24]  # a further address of eth0 is called eth0:1
    for line in IPV6.read_text().splitlines() if IPV6.exists() else []:
        digits, *_, name = line.split()
        yield name, bytes.fromhex(digits)


def _towards_another_host(size: int, store: Store) -> str:
    """Waits for the others to say theirs."""
    said = [store.get(f"address/{rank}").decode() for rank in range(size)]
    elsewhere = [address for address in said if address and not _is_loopback(address)]
    return address_towards(elsewhere[0]) if elsewhere else ""


def _is_loopback(address: str) -> bool:
    return not address or ipaddress.ip_address(address).is_loopback
