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
