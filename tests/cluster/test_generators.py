"""Our engine in actors, and what happens when one of them is killed, stalled or loses its weights."""

import os
import signal

import pytest
import torch

from ray_runs import handles_in
from shoestring.cluster.parcel import entries_of
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput, ShoestringError
from small_disk import small_disk
from tiny import tiny_lm

pytestmark = pytest.mark.slow

PARAMS = SamplingParams(max_tokens=40, n=3, seed=5, ignore_eos=True)
PROMPTS = [[5 + i, 6, 7, 8 + i % 3] for i in range(12)]
KEYS = [f"problem/{i}" for i in range(12)]


@pytest.fixture(scope="module")
def alone():
    return Engine(tiny_lm(), max_batch=16).generate(PROMPTS, PARAMS, KEYS)


def ids(made):
    return [[c.ids for c in several] for several in made]


def test_one_generator_makes_what_the_engine_in_this_process_makes(ray, alone, tmp_path):
    with handles_in(ray, tmp_path, generators=1) as handles:
        made = handles.generator(tiny_lm(), 16).generate(PROMPTS, PARAMS, KEYS)
    assert made == alone


def test_two_make_the_same_tokens_and_share_the_work(ray, alone, tmp_path):
    with handles_in(ray, tmp_path, generators=2) as handles:
        generators = handles.generator(tiny_lm(), 16)
        for prompt, key in zip(PROMPTS, KEYS, strict=True):
            generators.submit(prompt, PARAMS, key)
        generators._call_all()
        given = [m.title for m in generators._given.values()]
        made = [several for _, several in sorted(generators.completed())]
    assert given.count("generator 1 of 2") == given.count("generator 2 of 2") == 6
    assert ids(made) == ids(alone)
    for ours, theirs in zip(made, alone, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_new_weights_reach_all_of_them_and_name_their_version(ray, tmp_path):
    other = tiny_lm(seed=1)
    with handles_in(ray, tmp_path, generators=2) as handles:
        generators = handles.generator(tiny_lm(), 16)
        generators.load_weights(other.network.public_tensors(), version=7)
        made = generators.generate(PROMPTS, PARAMS, KEYS)
    assert ids(made) == ids(Engine(other, max_batch=16).generate(PROMPTS, PARAMS, KEYS))
    assert {c.weights_version for several in made for c in several} == {7}


def test_what_is_aborted_is_never_given_and_the_rest_is(ray, tmp_path):
    with handles_in(ray, tmp_path, generators=2) as handles:
        generators = handles.generator(tiny_lm(), 2)
        numbers = [generators.submit(p, PARAMS, k) for p, k in zip(PROMPTS, KEYS, strict=True)]
        given = []
        for number, _ in generators.completed():
            given.append(number)
            generators.abort(numbers[-1])
            generators.abort(numbers[-2])
    assert sorted(given) == numbers[:-2]


def test_a_killed_generator_costs_time_and_nothing_else(ray, alone, tmp_path, capfd):
    with handles_in(ray, tmp_path, generators=2) as handles:
        generators = handles.generator(tiny_lm(), 16)
        for prompt, key in zip(PROMPTS, KEYS, strict=True):
            generators.submit(prompt, PARAMS, key)
        generators._call_all()
        first = generators.members.all[0]
        assert first.last is not None
        os.kill(first.last.pid, signal.SIGKILL)
        said = []
        generators.members.say = said.append
        made = [several for _, several in sorted(generators.completed())]
        assert generators.members.lost == 1
        assert len(generators.members.all) == 2
    assert ids(made) == ids(alone)
    (line,) = said
    assert line.startswith(f"generator 1 of 2 (process {first.last.pid} on ")
    assert "died while it was sampling with the weights of version 0: signal 9 (SIGKILL)" in line
    assert "it last held 0." in line


def test_a_stalled_generator_is_ended_and_every_one_writes_where_it_is(ray, alone, tmp_path):
    with handles_in(ray, tmp_path, generators=2, deadline_s=8.0) as handles:
        generators = handles.generator(tiny_lm(), 16)
        said = []
        generators.members.say = said.append
        second = generators.members.all[1]
        assert second.last is not None
        os.kill(second.last.pid, signal.SIGSTOP)
        made = generators.generate(PROMPTS, PARAMS, KEYS)
    assert ids(made) == ids(alone)
    assert "generator 2 of 2" in said[0]
    assert "said nothing for 8 s while it was sampling" in said[0]
    stacks = (tmp_path / "stacks-generators.txt").read_text()
    assert "== generator 1 of 2" in stacks
    assert "doesn't answer" in stacks


def test_weights_that_were_lost_are_handed_over_again_before_a_token_is_made(ray, alone, tmp_path):
    with handles_in(ray, tmp_path, generators=2) as handles:
        generators = handles.generator(tiny_lm(seed=1), 16)
        generators.load_weights(tiny_lm().network.public_tensors(), version=3)
        first, parcel = generators.members.all[0], generators.hand_over.parcel
        assert parcel is not None
        stale = type(parcel)(parcel.manifest, 2, parcel.carried)
        ray.get(first.actor.take.remote(stale, stale.carried))  # it is at another version behind our back
        said = []
        generators.members.say = said.append
        made = generators.generate(PROMPTS, PARAMS, KEYS)
        assert generators.hand_over.again == 1
    assert "generator 1 of 2 has the weights of version 2 where 3 was handed over" in said[0]
    assert ids(made) == ids(alone)
    assert {c.weights_version for several in made for c in several} == {3}


def test_by_disk_a_spoilt_file_is_noticed_and_written_again(ray, alone, tmp_path):
    shared = tmp_path / "shared"
    with handles_in(ray, tmp_path, generators=2, hand_over="disk", folder=shared) as handles:
        generators = handles.generator(tiny_lm(seed=1), 16)
        carrier, said = generators.hand_over.carrier, []
        generators.members.say = said.append
        write = carrier._written

        def spoilt(version):
            path = write(version)
            raw = bytearray(path.read_bytes())
            raw[-5] ^= 1  # one bit
            path.write_bytes(raw)
            carrier._written = write
            return path

        carrier._written = spoilt
        generators.load_weights(tiny_lm().network.public_tensors(), version=1)
        assert generators.hand_over.parcel.way == "disk"
        made = generators.generate(PROMPTS, PARAMS, KEYS)
        lie = sorted(p.name for p in shared.glob("*/*"))
        generators.load_weights(tiny_lm().network.public_tensors(), version=0)  # as a resume does
        assert ids(generators.generate(PROMPTS, PARAMS, KEYS)) == ids(alone)
    assert ids(made) == ids(alone)
    assert "by disk: model." in said[0]
    assert lie == [f"weights-00000{i}.safetensors" for i in (0, 1)]
    assert list(shared.iterdir()) == []


def test_a_full_disk_ends_the_hand_over_in_one_line_and_nothing_else(ray, alone, tmp_path):
    nbytes = entries_of(tiny_lm().network.public_tensors()).nbytes
    with (
        small_disk(tmp_path / "shared", 3 * nbytes) as shared,
        handles_in(ray, tmp_path / "stage", generators=1, hand_over="disk", folder=shared) as handles,
    ):
        generators = handles.generator(tiny_lm(seed=1), 16)
        (shared / "other").write_bytes(bytes(int(1.5 * nbytes)))
        with pytest.raises(ShoestringError, match=r"weights-000001.*: the disk is full; what was saved"):
            generators.load_weights(tiny_lm().network.public_tensors(), version=1)
        (shared / "other").unlink()
        generators.load_weights(tiny_lm().network.public_tensors(), version=1)
        assert ids(generators.generate(PROMPTS, PARAMS, KEYS)) == ids(alone)


def test_after_too_many_losses_it_stops_and_says_why(ray, tmp_path):
    with handles_in(ray, tmp_path, generators=1, restarts=0) as handles:
        generators = handles.generator(tiny_lm(), 16)
        os.kill(generators.members.all[0].last.pid, signal.SIGKILL)
        with pytest.raises(ShoestringError, match=r"SIGKILL.*lost 1 times in this stage, more than restarts"):
            generators.generate(PROMPTS, PARAMS, KEYS)


def test_what_the_engine_refuses_is_refused_in_its_words(ray, tmp_path):
    with handles_in(ray, tmp_path, generators=1, cache_gib=1e-6) as handles:
        generators = handles.generator(tiny_lm(window=64), 16)
        with pytest.raises(BadInput, match="the prompt has 70 tokens and the model's window is 64"):
            generators.submit([5] * 70, PARAMS)
        with pytest.raises(BadInput, match="don't fit the cache"):
            generators.generate(PROMPTS, PARAMS, KEYS)


def test_more_than_the_cluster_has_is_refused_with_what_it_has(ray, tmp_path):
    with (
        handles_in(ray, tmp_path, generators=2, cpus=64.0, deadline_s=2.0) as handles,
        pytest.raises(BadInput, match=r"no room for 2 generators of 64 CPU each \(in all it has"),
    ):
        handles.generator(tiny_lm())


def test_float_bits_survive_the_way(ray, tmp_path):
    """Masters in bf16, biases in float32: nothing is cast on the way."""
    lm = tiny_lm()
    lm.network.to(torch.bfloat16)
    with handles_in(ray, tmp_path, generators=1) as handles:
        generators = handles.generator(lm)
        assert generators.hand_over.parcel is not None
        assert {e.dtype for e in generators.hand_over.parcel.manifest.entries} == {"bfloat16"}
