"""What a store keeps through kills and full disks, and what it asks for again."""

import errno
from unittest.mock import patch

import pytest

from shoestring.errors import ShoestringError
from shoestring.remote.asked import Answer, Ask, Sampling
from shoestring.remote.store import REFUSED, Store, spent
from shoestring.run import read_lines

HOW = Sampling(0.6, 0.95, 100, 0)
WHO = ("m", "https://h/v1", "{}")


def ask(text: str, *numbers: int) -> Ask:
    return Ask(({"role": "user", "content": text},), numbers)


def answer(asked: Ask, number: int, cost: float = 0.25, text: str = "3") -> Answer:
    return Answer(
        asked.key, number, "so\u2028thinking", text, "stop", 10, 5, "2026-01-01T00:00:00+00:00", cost
    )


def test_what_is_there_is_not_asked_for_again(tmp_path):
    one, two = ask("one", 0, 1, 2), ask("two", 0)
    store = Store(tmp_path, WHO, HOW)
    assert store.missing([one, two]) == [one, two]
    store.add(answer(one, 1))
    store.add(answer(two, 0))
    for again in (store, Store(tmp_path, WHO, HOW)):
        assert len(again) == 2
        assert again.missing([one, two]) == [ask("one", 0, 2)]
        assert again.get(one.key, 1) == answer(one, 1)
        assert again.get(one.key, 0) is None
    assert store.missing([ask("new", 0), ask("new", 0), ask("new", 0, 1)]) == [ask("new", 0, 1)]


def test_a_prompts_key_is_its_text_and_roles():
    assert ask("one").key == ask("one", 4).key != ask("two").key
    system = Ask(({"role": "system", "content": "one"},), ())
    assert system.key != ask("one").key


def test_other_samplings_and_teachers_are_not_mixed(tmp_path):
    one = ask("one", 0)
    Store(tmp_path, WHO, HOW).add(answer(one, 0))
    assert Store(tmp_path, WHO, Sampling(1.0, 0.95, 100, 0)).missing([one])
    assert Store(tmp_path, ("m", "https://other/v1", "{}"), HOW).missing([one])
    assert not Store(tmp_path, WHO, HOW).missing([one])


def test_a_torn_line_is_cut_off_and_asked_for_again(tmp_path):
    one = ask("one", 0, 1)
    store = Store(tmp_path, WHO, HOW)
    store.add(answer(one, 0))
    store.add(answer(one, 1))
    path = store.folder / f"{one.key[:2]}.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    again = Store(tmp_path, WHO, HOW)
    assert again.missing([one]) == [ask("one", 1)]
    again.add(answer(one, 1))
    assert path.read_bytes() == whole


def test_a_full_disk_leaves_the_samples_before_it_whole(tmp_path):
    one = ask("one", 0, 1)
    store = Store(tmp_path, WHO, HOW)
    store.add(answer(one, 0))
    path = store.folder / f"{one.key[:2]}.jsonl"
    before = path.read_bytes()

    def full(descriptor: int) -> None:  # part of the line is written by then
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        patch("shoestring.remote.store.os.fsync", full),
        pytest.raises(ShoestringError, match="disk is full"),
    ):
        store.add(answer(one, 1, text="x" * 1000))
    assert path.read_bytes() == before
    assert store.missing([one]) == [ask("one", 1)]


def test_what_was_spent_is_counted_over_all_samplings_of_the_endpoint(tmp_path):
    one = ask("one", 0, 1)
    store = Store(tmp_path, WHO, HOW)
    store.add(answer(one, 0))
    store.lose(answer(one, 1, cost=0.5), "the stream was cut")
    Store(tmp_path, WHO, Sampling(1.0, 1.0, 9, 0)).add(answer(one, 0, cost=1.0))
    Store(tmp_path, ("m", "https://other/v1", "{}"), HOW).add(answer(one, 0, cost=8.0))
    assert spent(tmp_path, "https://h/v1") == (1.75, 45)
    assert spent(tmp_path / "none", "https://h/v1") == (0, 0)
    store.refuse(one.key, 7, "HTTP 400: too long")  # costs nothing
    assert spent(tmp_path, "https://h/v1") == (1.75, 45)
    assert Store(tmp_path, WHO, HOW).missing([one]) == [ask("one", 1)]  # a lost one is no sample
    (kept,) = read_lines(store.folder / "lost.jsonl")
    assert kept["fault"] == "the stream was cut"


def test_a_refused_sample_is_not_asked_for_again_until_its_file_is_gone(tmp_path):
    one, two = ask("one", 0, 1), ask("two", 0)
    store = Store(tmp_path, WHO, HOW)
    store.refuse(one.key, 0, "HTTP 400: too long")
    for again in (store, Store(tmp_path, WHO, HOW)):
        assert again.missing([one, two]) == [ask("one", 1), two]
        assert again.refused([one, two]) == 1
    (store.folder / REFUSED).unlink()
    assert Store(tmp_path, WHO, HOW).missing([one]) == [one]
