"""Keys: hashed, compared, limited."""

from pathlib import Path

import pytest

from shoestring.errors import BadInput
from shoestring.serve.errors import ApiError
from shoestring.serve.keys import Caller, Door, KeySettings, hashed, new_key, read_keys


def settings(key: str = "sk-a", **limits: int) -> KeySettings:
    return KeySettings(name="a", sha256=hashed(key), **limits)


def status(caller: Caller) -> int:
    try:
        with caller.request():
            return 200
    except ApiError as error:
        return error.status if error.headers()["Retry-After"] else 0


def test_a_new_key_opens_the_door_and_its_file_doesnt_hold_it(tmp_path: Path) -> None:
    key, lines = new_key("alice")
    path = tmp_path / "keys.toml"
    path.write_text(lines)
    door = Door(read_keys(path))
    assert key not in lines
    assert door.locked
    assert door.caller(f"Bearer {key}").name == "alice"
    assert door.caller(f"bearer  {key} ").name == "alice"
    for wrong in (None, "", key, "Bearer ", f"Bearer {key}x", f"Basic {key}", "Bearer \udcff"):
        with pytest.raises(ApiError) as caught:
            door.caller(wrong)
        assert caught.value.status == 401


def test_without_keys_all_are_one() -> None:
    door = Door([])
    assert not door.locked
    assert door.caller(None) is door.caller("Bearer whatever")


def test_requests_at_once_are_limited() -> None:
    caller = Caller(settings(concurrent=1))
    with caller.request():
        assert status(caller) == 429
    assert status(caller) == 200


def test_requests_in_a_minute_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("shoestring.serve.keys.time.monotonic", lambda: now[0])
    caller = Caller(settings(requests_per_minute=2))
    assert [status(caller) for _ in range(3)] == [200, 200, 429]
    now[0] += 60
    assert status(caller) == 200


def test_a_days_tokens_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [86400.0 * 20000]
    monkeypatch.setattr("shoestring.serve.keys.time.time", lambda: now[0])
    caller = Caller(settings(tokens_per_day=100))
    assert status(caller) == 200
    caller.spend(100)
    assert status(caller) == 429
    now[0] += 86400
    assert status(caller) == 200


@pytest.mark.parametrize(
    "text", ["", '[[key]]\nname = "a"', '[[key]]\nname = "a"\nsha256 = "xyz"', "key = 1"]
)
def test_a_file_that_is_no_file_of_keys_is_bad_input(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"keys\.toml"):
        read_keys(path)
