"""A cluster's step: closed forms by hand, and V3's hours from first principles beside those that were
published."""

import dataclasses
from pathlib import Path

import pytest

from shoestring.budget.cluster_file import Cluster, read_cluster
from shoestring.budget.flops import recompute_flops, train_flops
from shoestring.budget.hardware import load_hardware
from shoestring.budget.ranges import Range
from shoestring.budget.rollouts import TooSmall, r1_hours, served
from shoestring.budget.schedule import (
    all_to_all_bytes,
    bubble_seconds,
    needed_flops,
    parameters_of_a_gpu,
    step_of,
    update_seconds,
)
from shoestring.budget.simulate import middle_of, simulate
from shoestring.errors import BadInput
from shoestring.models.presets import preset_config
from tiny import tiny_lm

RECIPE = Path(__file__).parents[2] / "recipes" / "v3-671b.toml"
V3 = preset_config("v3-671b")
H800 = load_hardware().find("h800")


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    found = read_cluster(RECIPE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def found(cluster: Cluster):
    return simulate(cluster, H800)


def test_bubbles_by_the_closed_forms():
    forward, backward, weights = 1.0, 2.0, 1.0
    assert bubble_seconds("1f1b", 16, forward, backward, weights) == 15 * 3
    assert bubble_seconds("zero-bubble", 16, forward, backward, weights) == 15 * 1
    assert bubble_seconds("dualpipe", 16, forward, backward, weights) == 7 * (3 + 2 - 3)


def test_v3s_hours_from_first_principles_hold_the_published(cluster, found):
    told = cluster.published
    for simulated, published in (
        (found.per_trillion, told.gpu_hours_per_trillion),
        (found.gpu_hours, told.gpu_hours),
        (found.gpu_hours * cluster.usd_per_gpu_hour, told.usd),
        (found.hours["pretraining"], told.pretraining_gpu_hours),
    ):
        assert simulated.holds(published)
        assert simulated.mid == pytest.approx(published, rel=0.10)


def test_no_published_hour_is_among_the_inputs(cluster, found):
    without = cluster.model_copy(update={"published": None})
    assert simulate(without, H800).gpu_hours == found.gpu_hours


def test_every_input_moves_the_sum_and_says_where_it_is_from(cluster, found):
    for name in type(cluster.efficiency).model_fields:
        low, high = found.swings[name]
        assert low < 1.0 < high or (low < 1.0 and high == pytest.approx(1.0)), name
        given = getattr(cluster.efficiency, name)
        assert given.kind in ("measured", "published", "assumed")
        assert given.source


def test_the_step_is_the_sum_of_its_parts(found):
    assert sum(found.step.parts().values()) == pytest.approx(found.step.seconds)
    assert 0.3 < found.utilisation < 0.5


def step(cluster: Cluster, **changes):
    other = cluster.model_copy(update=changes)
    return step_of(other, V3, H800, middle_of(other.efficiency), other.stage[0])


def test_what_v3_did_is_what_pays(cluster):
    usual = step(cluster)
    assert step(cluster, schedule="zero-bubble").bubble > usual.bubble
    assert step(cluster, schedule="1f1b").bubble > step(cluster, schedule="zero-bubble").bubble
    apart = step(cluster, overlap=False)
    assert apart.exposed == pytest.approx(usual.all_to_all)
    assert apart.seconds > 1.2 * usual.seconds
    assert step(cluster, precision="bf16").products > 1.3 * usual.products
    assert step(cluster, recompute=False).products < usual.products
    assert step(cluster, nodes_per_token=8).all_to_all > 1.5 * usual.all_to_all


def test_messages_by_hand(cluster):
    network, inside = all_to_all_bytes(V3, cluster)
    # four of eight nodes, of which one's own is a half of the time: 3.5 copies, FP8 there and bf16 back,
    # twice
    assert network == 2 * 3.5 * 7168 * 3
    assert inside == 2 * 8 * 7 / 8 * 7168 * 3


def test_operations_are_those_of_the_exact_count():
    config = dataclasses.replace(tiny_lm().config)
    length = 32
    pairs = length * (length + 1) // 2
    assert needed_flops(config, length) == train_flops(config, length, pairs, length)
    assert recompute_flops(config) == 0
    # V3: queries 1536 x 24576 and keys with values 512 x 32768, in 61 layers and the MTP module's
    assert recompute_flops(V3) == 2 * (1536 * 24576 + 512 * 32768) * 62


def test_a_gpus_share_of_the_weights(cluster):
    held = parameters_of_a_gpu(cluster, V3)
    assert 1.2e9 < held.total < 2.0e9  # 4 experts of 256 and all else, in a sixteenth of the layers
    whole = parameters_of_a_gpu(cluster.model_copy(update={"expert": 1}), V3)
    assert held.experts == pytest.approx(whole.experts / 64)
    assert held.rest == whole.rest


def test_an_update_is_shared_by_all_that_have_a_copy(cluster):
    """128 copies of attention and dense weights whatever the experts do, which have 128 / 64 or one."""
    shares = middle_of(cluster.efficiency)
    for expert, copies in ((64, 2), (128, 1)):
        other = cluster.model_copy(update={"expert": expert})
        held = parameters_of_a_gpu(other, V3)
        sent = 6 * (held.experts * (1 - 1 / copies) + held.rest * 127 / 128) / (50e9 * 0.9)
        kept = 26 * (held.experts / copies + held.rest / 128) / (3350e9 * 0.8)
        assert update_seconds(other, V3, H800, shares) == pytest.approx(sent + kept)


def test_r1_and_serving_hold_the_published(cluster, found):
    serving = served(cluster, cluster.serving, V3, H800, Range.exact(2.0))
    assert serving.tokens_per_s.holds(cluster.serving.published_tokens_per_s_per_node)
    assert serving.per_user.mid == pytest.approx(21, rel=0.35)  # 20 to 22 were published
    hours = r1_hours(cluster.r1, found.per_trillion, serving.tokens_per_s, cluster.gpus_per_node)
    assert hours.gpu_hours.holds(cluster.r1.published_gpu_hours)
    assert hours.zero.holds(cluster.r1.published_zero_gpu_hours)
    assert hours.data.holds(cluster.r1.published_data_gpu_hours)
    longer = cluster.r1.model_copy(update={"zero_steps": 20_800})
    assert r1_hours(longer, Range.exact(1.8e5), serving.tokens_per_s, 8).zero.mid > 2 * hours.zero.mid


def test_serving_has_no_more_streams_than_memory(cluster):
    def on(memory_gib: float):
        chip = H800.model_copy(update={"memory_gib": memory_gib})
        return served(cluster, cluster.serving, V3, chip, Range.exact(2.0))

    usual, tight, full = on(80), on(49), on(36)
    assert usual.fits_streams > tight.fits_streams > 40 > full.fits_streams > 0
    assert tight.tokens_per_s.low == pytest.approx(usual.tokens_per_s.low)
    assert tight.tokens_per_s.mid < usual.tokens_per_s.mid
    assert full.tokens_per_s.high < tight.tokens_per_s.low
    with pytest.raises(TooSmall, match=r"has 24\.0 GiB; one of 144 GPUs that serve needs 33\.9 GiB"):
        on(24)


def test_serving_is_paid_at_the_chips_price(cluster):
    one, three = (served(cluster, cluster.serving, V3, H800, Range.exact(usd)) for usd in (1.0, 3.0))
    assert three.usd_per_million.mid == pytest.approx(3 * one.usd_per_million.mid)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pipeline = 16", "pipeline = 15", "is not gpus 2048"),
        ("value = [0.46, 0.51, 0.60]", "value = [0.46, 0.51, 1.60]", "at most 1"),
        ("usd_per_gpu_hour = 2.0", "usd_per_gpu_hour = -2.0", "greater than or equal to 0"),
        ('schedule = "dualpipe"', 'schedule = "gpipe"', "schedule"),
        ("nodes_per_token = 4", "nodes_per_tokens = 4", "did you mean 'nodes_per_token'"),
        ("expert = 64", "expert = 2048", "expert 2048 does not divide data 128"),
        ("usd_per_gpu_hour = 2.0", "usd_per_gpu_hour = nan", "usd_per_gpu_hour"),
        ("steps = [1500, 3200, 5000]", "steps = [5000, 3200, 1500]", "'r1.steps'"),
        ("tokens_per_s = [25.0, 37.0, 50.0]", "tokens_per_s = [-25.0, 37.0, 50.0]", "'r1.tokens_per_s'"),
        ("[8200, 32768]", "[8200, 0]", "'r1.longest'"),
        ("kept_samples = 804745", "kept_samples = 0", "'r1.kept_samples'"),
        ("dispatch_us = [120, 190, 240]", "dispatch_us = [120, inf, inf]", "'serving.dispatch_us"),
        ("tokens_out_per_day = 168e9", "tokens_out_per_day = 0", "published_tokens_out_per_day"),
        ("gpu_hours_per_trillion = 180000", "gpu_hours_per_trillion = 0", "gpu_hours_per_trillion"),
    ],
)
def test_a_bad_cluster_is_one_line(tmp_path: Path, old: str, new: str, told: str):
    file = tmp_path / "cluster.toml"
    assert old in RECIPE.read_text()
    file.write_text(RECIPE.read_text().replace(old, new))
    with pytest.raises(BadInput) as caught:
        read_cluster(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
