"""What the probe says of a made-up machine of two cores."""

from shoestring.budget.probe import Probe

QUIET = Probe(
    machine="two cores",
    cores=2,
    threads=2,
    memory_bytes=16 << 30,
    products={"fp32": [8e10, 1.4e11, 1.8e11, 1.9e11, 1.9e11], "bf16": [1.5e11, 3.3e11, 7e11, 7.6e11, 7.9e11]},
    decode={"fp32": [8e9, 6e10, 1.5e11, 1.8e11], "bf16": [1.5e10, 1.1e11, 4.2e11, 6.5e11]},
    bandwidth=4e10,
    dense=(0.7, 0.7),
    mixed=(0.6, 0.5),
    disk=7e8,
    busy=0.0,
    seconds=10.0,
    date="2026-11-27",
)
