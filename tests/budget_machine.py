"""What the probe says of two machines of two cores: one that is made up, one that was measured."""

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

EPYC = Probe(
    machine="AMD EPYC",
    cores=2,
    threads=2,
    memory_bytes=25276514304,
    products={
        "fp32": [1.978e11, 2.029e11, 1.824e11, 1.694e11, 1.421e11],
        "bf16": [3.948e11, 4.321e11, 4.283e11, 4.273e11, 4.329e11],
    },
    decode={
        "fp32": [2.985e10, 5.668e10, 1.465e11, 1.819e11],
        "bf16": [4.013e10, 2.087e11, 3.973e11, 4.312e11],
    },
    bandwidth=2.969e10,
    dense=(0.2992, 0.1784),
    mixed=(0.1032, 0.0702),
    disk=8.091e8,
    busy=0.006,
    seconds=10.0,
    date="2026-11-28",
)
