"""How long work takes on a machine that was measured, or on a chip of the table."""

from dataclasses import replace

import pytest

from budget_machine import QUIET
from shoestring.budget import reference
from shoestring.budget.flops import causal_pairs, train_flops
from shoestring.budget.hardware import load_hardware
from shoestring.budget.machine import of_chip, of_probe
from shoestring.budget.probe import measure, read_probe
from shoestring.errors import BadInput
from shoestring.models.presets import PRESETS


def test_the_reference_models_own_update_is_said_as_it_was_measured():
    machine = of_probe(QUIET)
    rows = reference.TOKENS // reference.ROW
    for config, (update_s, _) in ((reference.DENSE, QUIET.dense), (reference.MIXED, QUIET.mixed)):
        pairs = rows * causal_pairs(reference.ROW)
        flops = train_flops(config, reference.TOKENS, pairs, reference.TOKENS - rows)
        parameters = machine.update_seconds(1.0)
        assert parameters > 0
        said = machine.train_seconds(config, flops, reference.TOKENS, reference.TOKENS)
        assert said < update_s < said * 1.3  # the optimizer's pass comes on top


def test_more_rows_and_wider_models_are_never_slower():
    machine = of_probe(QUIET)
    rates = [machine._rows_rate(rows) for rows in (0.5, 1, 4, 30, 64, 200, 500, 5000)]
    assert rates == sorted(rates)
    small, large = (machine.product_rate(PRESETS[name], 4096) for name in ("tiny", "v3-16b"))
    assert small < large <= machine.peak


def test_a_busy_moment_of_one_shape_is_not_the_shapes():
    jagged = replace(QUIET, products={**QUIET.products, "bf16": [1.5e11, 3.3e11, 7e11, 2e10, 1e10]})
    assert of_probe(jagged).products[-1] == 7e11


def test_a_busy_machine_widens_the_range_and_says_so():
    busy = of_probe(replace(QUIET, busy=0.5))
    calm = of_probe(QUIET).spread(100.0)
    wide = busy.spread(100.0)
    assert wide.mid == calm.mid
    assert wide.low < calm.low
    assert wide.high > 1.9 * calm.high
    assert "BUSY: others took 50% of the processors" in busy.basis
    assert "BUSY" not in of_probe(QUIET).basis


def test_a_faster_chip_is_faster():
    hardware = load_hardware()
    config = PRESETS["v3-16b"]
    seconds = [
        of_chip(hardware.find(name)).train_seconds(config, 1e16, 1e5, 8192)
        for name in ("cpu-cloud-2", "rtx-3090", "a100", "h100")
    ]
    assert seconds == sorted(seconds, reverse=True)
    assert of_chip(hardware.find("a100"), "fp8").precision == "bf16"


def test_a_processor_is_one_because_it_says_so():
    """Twelve channels of fast memory make none a GPU."""
    server = load_hardware().find("cpu-server-64").model_copy(update={"bandwidth_gbs": 460.0})
    machine = of_chip(server)
    assert machine.launch_s == 0
    assert len(set(machine.products)) == 1
    gpu = of_chip(server.model_copy(update={"kind": "gpu"}))
    assert gpu.launch_s > 0
    assert gpu.products[0] < gpu.products[-1]
    named = {name for name, chip in load_hardware().chips.items() if chip.kind == "cpu"}
    assert named == {"cpu-cloud-2", "cpu-laptop-8", "cpu-server-64"}


@pytest.mark.slow
def test_this_machine_is_measured_in_under_a_minute(tmp_path):
    found = measure(tmp_path, seconds_each=0.05)
    assert found.seconds < 60
    assert found.peak > 1e9
    assert found.bandwidth > 1e8
    assert found.disk > 1e5
    assert 0 <= found.busy <= 1
    assert min(*found.dense, *found.mixed) > 0
    assert of_probe(found).dense[0] > 0


def test_what_is_no_probe_is_refused(tmp_path):
    file = tmp_path / "probe.json"
    file.write_text("{}")
    with pytest.raises(BadInput, match="not a kept probe"):
        read_probe(file)
