"""Energy counters, read where the system lets one."""

from pathlib import Path

from shoestring.run.power import EnergyMeter


def zone(root: Path, name: str, joules: float, most: float = 100.0) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(str(int(joules * 1e6)))
    (folder / "max_energy_range_uj").write_text(str(int(most * 1e6)))
    return folder


def test_packages_are_added_up_and_their_parts_are_not(tmp_path):
    zone(tmp_path, "intel-rapl:0", 10)
    zone(tmp_path, "intel-rapl:1", 50)
    zone(tmp_path, "intel-rapl:0:0", 3)  # the cores of package 0, which are in it
    meter = EnergyMeter(tmp_path)
    assert "RAPL" in meter.source
    zone(tmp_path, "intel-rapl:0", 14)
    zone(tmp_path, "intel-rapl:1", 51)
    taken = meter.take()
    assert taken is not None
    assert 5 <= taken < 6
    assert (meter.take() or 0) < 1


def test_a_counter_that_begins_anew(tmp_path):
    zone(tmp_path, "intel-rapl:0", 98)
    meter = EnergyMeter(tmp_path)
    zone(tmp_path, "intel-rapl:0", 3)
    taken = meter.take()
    assert taken is not None
    assert 5 <= taken < 6


def test_nothing_to_read_is_nothing_measured(tmp_path):
    meter = EnergyMeter(tmp_path / "none")
    if meter.source:  # a machine with an NVIDIA driver
        return
    assert meter.take() is None


class Card:
    """A GPU of NVML's; None: it has no energy counter."""

    def __init__(self, *readings: float | None) -> None:
        self.readings = list(readings)

    def joules(self) -> float | None:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


def named(root: Path, zone_name: str, name: str, joules: float) -> None:
    (zone(root, zone_name, joules, most=1000.0) / "name").write_text(name + "\n")


def test_the_platform_is_not_added_to_the_package_that_is_in_it(tmp_path):
    for joules in (0, 10):
        named(tmp_path, "intel-rapl:0", "package-0", joules)
        named(tmp_path, "intel-rapl:1", "psys", 2 * joules)
        if not joules:
            meter = EnergyMeter(tmp_path, gpus=[])
    assert meter.take() == 10
    for joules in (0, 10):
        named(tmp_path / "other", "intel-rapl:0", "psys", joules)
        if not joules:
            meter = EnergyMeter(tmp_path / "other", gpus=[])
    assert meter.take() == 10


def test_more_than_ten_packages(tmp_path):
    for joules in (0, 2):
        for number in range(12):
            zone(tmp_path, f"intel-rapl:{number}", joules)
        if not joules:
            meter = EnergyMeter(tmp_path, gpus=[])
    assert meter.take() == 24


def test_a_gpu_without_a_counter_is_not_one_that_takes_nothing(tmp_path):
    without = EnergyMeter(tmp_path / "none", gpus=[Card(None), Card(5.0, 5.0, 9.0)])
    assert without.source == ""
    assert without.take() is None
    zone(tmp_path, "intel-rapl:0", 10)
    beside = EnergyMeter(tmp_path, gpus=[Card(None)])
    assert beside.source == "RAPL"
    assert beside.measures(gpus_at_work=True) == "processors"
    assert beside.measures(gpus_at_work=False) == "all"


def test_gpus_alone_are_a_part_of_the_machine(tmp_path):
    meter = EnergyMeter(tmp_path / "none", gpus=[Card(1.0, 1.0, 4.0)])
    assert meter.take() == 3.0
    assert meter.measures(gpus_at_work=True) == "GPUs"


def test_a_counter_that_fails_meanwhile_measures_nothing_for_a_line(tmp_path):
    meter = EnergyMeter(tmp_path / "none", gpus=[Card(1.0, 1.0, None, 8.0, 9.0)])
    assert [meter.take(), meter.take(), meter.take()] == [None, None, 1.0]
