"""Who may ask, and how a body may come."""

import json
import socket

import pytest

from room import Room, wait_for
from shoestring.serve.intake import is_loopback


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("::1", True),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_a_name_is_this_machine_only_if_it_says_so_whole(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_name_that_begins_like_an_address_isnt_let_in() -> None:
    with Room() as room:
        for host in ("127.evil.example", "127.evil.example:8000"):
            got = room.probe.post("/chat/completions", room.probe.body("q"), Host=host)
            assert (got.status, got.json["error"]["code"]) == (403, "host_not_allowed")


def test_a_body_that_doesnt_come_is_a_408() -> None:
    with Room(body_seconds=0.2) as room:
        body = json.dumps(room.probe.body("q")).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection((room.probe._parts.hostname, room.probe._parts.port), 10) as connection:
            connection.sendall((head + "Content-Type: application/json\r\n\r\n").encode() + body[:9])
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert any(" 408 " in line for line in room.lines)


def test_a_client_that_leaves_in_its_body_is_no_fault(capfd: pytest.CaptureFixture[str]) -> None:
    with Room() as room:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n"
        with socket.create_connection((room.probe._parts.hostname, room.probe._parts.port), 10) as connection:
            connection.sendall((head + 'Content-Type: application/json\r\n\r\n{"model"').encode())
        wait_for(lambda: any(" 400 " in line for line in room.lines))
        assert room.probe.chat("q").status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_no_other_site_is_told_that_it_may_read() -> None:
    with Room() as room:
        asked = room.probe.post("/chat/completions", room.probe.body("q"), Origin="https://evil.example")
        first = room.probe._ask(
            "OPTIONS",
            "/chat/completions",
            None,
            {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
            False,
        )
        for got in (asked, first):
            assert not [name for name in got.headers if name.lower().startswith("access-control-")]
        assert first.status == 405
