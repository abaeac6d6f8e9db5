"""The actor's own class, without Ray."""

from types import SimpleNamespace

import pytest

from ray_runs import workers
from shoestring.cluster.generator_actor import Asked, GeneratorActor, OwnEngine
from shoestring.cluster.generators import Generators
from shoestring.cluster.handover import Carrier
from shoestring.cluster.members import Members
from shoestring.cluster.parcel import Parcel, packed
from shoestring.cluster.skeleton import Skeleton
from shoestring.engine.engine import Engine
from shoestring.engine.request import SamplingParams
from shoestring.errors import BadInput
from shoestring.models.numerics import use_fp8, uses_fp8
from shoestring.text.message import Message
from tiny import tiny_lm
from tiny_v3 import tiny_v3

PARAMS = SamplingParams(max_tokens=6, n=2, ignore_eos=True)


def parcel(lm, version):
    buffer, manifest = packed(lm.network.public_tensors())
    return Parcel(manifest, version, None), buffer


def actor():
    return GeneratorActor(OwnEngine(Skeleton.of(tiny_lm(seed=9)), "cpu", 8, None))


def test_it_makes_nothing_before_it_has_weights():
    one = actor()
    worked = one.work(0, [Asked(1, [5, 6], PARAMS, "a")], 1.0)
    assert worked.stale
    assert worked.version == -1
    assert not worked.done


def test_with_them_it_is_the_engine():
    one, lm = actor(), tiny_lm()
    assert one.take(*parcel(lm, 4)).wrong == ""
    worked = one.work(4, [Asked(17, [5, 6], PARAMS, "a")], 60.0)
    ((number, made),) = worked.done
    assert number == 17
    assert [c.ids for c in made] == [c.ids for c in Engine(lm).generate([[5, 6]], PARAMS, ["a"])[0]]
    assert {c.weights_version for c in made} == {4}
    assert worked.look.phase == "waiting for work"


def test_spoilt_weights_are_not_taken_and_leave_none():
    one = actor()
    sent, buffer = parcel(tiny_lm(), 1)
    spoilt = buffer.copy()
    spoilt[100] ^= 1
    took = one.take(sent, spoilt)
    assert took.wrong == sent.manifest.entries[0].name
    assert one.work(1, [], 0.0).stale


def test_time_up_leaves_the_rest_for_the_next_call_and_an_abort_drops_it():
    one = actor()
    one.take(*parcel(tiny_lm(), 0))
    asked = [Asked(i, [5, i], PARAMS, str(i)) for i in (3, 4)]
    assert one.work(0, asked, 0.0).done == []
    one.abort([3])
    assert [number for number, _ in one.work(0, [], 60.0).done] == [4]


def test_a_refusal_is_of_one_request():
    one = actor()
    one.take(*parcel(tiny_lm(), 0))
    worked = one.work(0, [Asked(1, [], PARAMS, "a"), Asked(2, [5], PARAMS, "b")], 60.0)
    ((number, error),) = worked.refused
    assert number == 1
    assert isinstance(error, BadInput)
    assert [n for n, _ in worked.done] == [2]


class Refusing:
    def make(self):
        raise BadInput("--workers engine=vllm: no module named vllm; pip install vllm")


def test_an_engine_that_can_not_be_made_is_refused_to_who_asks_for_a_look():
    """Raised as the actor starts it would be one more lost process, started again and again."""
    one = GeneratorActor(Refusing())
    for _ in range(2):
        with pytest.raises(BadInput, match="pip install vllm"):
            one.look()


def test_generators_whose_engine_is_refused_end_the_stage_with_that_line(fake_ray, tmp_path):
    ray = fake_ray(lambda _: None)
    ray.works = lambda _: SimpleNamespace(look=GeneratorActor(Refusing()).look)
    asked = workers(generators=2, restarts=3)
    lm, given = tiny_lm(), (GeneratorActor, (Refusing(),))
    members = Members(ray, "generator", 2, asked, 1.0, 0.0, given, lambda _: None, tmp_path)
    with pytest.raises(BadInput, match="pip install vllm") as refused:
        Generators.start(members, lm.config, 4, Carrier(ray, asked), lm.network.public_tensors())
    assert refused.value.exit_code == 2
    assert members.lost == 0


def test_a_skeleton_has_the_template_of_a_model_in_use():
    lm = tiny_lm()
    ids = lm.template.render([Message(role="user", content="Hi")], add_generation_prompt=True).ids
    same = Skeleton.of(lm).model("cpu")
    assert same.template.render([Message(role="user", content="Hi")], add_generation_prompt=True).ids == ids
    assert tuple(same.template.stop_ids) == tuple(lm.template.stop_ids)


def test_a_skeleton_computes_as_its_model_does():
    lm = tiny_v3()
    for on in (False, True):
        use_fp8(lm.network, on)
        assert uses_fp8(Skeleton.of(lm).model("cpu").network) is on


def test_where_it_is_shows_its_phase_and_a_stack():
    said = actor().stack()
    assert said.startswith("waiting for work\n")
    assert "in stack" in said
