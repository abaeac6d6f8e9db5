"""What a hand-over of weights costs, by the object store and by disk, to one generator and to two; and what a
second generator brings on this machine.

    .venv-ray/bin/python benchmarks/cluster_handover.py --json benchmarks/results/cluster_handover.json

Generators of one machine share its cores, so two of them make few tokens more than one. The object store of
one machine is its memory; between two, the network's rate comes on top."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, report, show, start

from shoestring.cluster.cluster import Cluster, open_cluster
from shoestring.cluster.workers import Workers
from shoestring.engine.request import SamplingParams
from shoestring.lm import LanguageModel, load
from shoestring.run import Stage


def measured(
    cluster: Cluster, lm: LanguageModel, asked: argparse.Namespace, count: int, way: str
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder, "stage"), "benchmark") as stage:
        own = {"generators": count, "hand_over": way, "folder": Path(folder, "shared")}
        workers = Workers(cpus=0.5, store_gib=asked.store_gib, cache_gib=0.25, **own)
        with Cluster(cluster.ray, workers).of(stage) as handles:
            generators = handles.generator(lm, asked.max_batch)
            seconds = []
            for version in range(1, asked.rounds + 1):
                began = time.perf_counter()
                generators.load_weights(lm.network.public_tensors(), version)
                seconds.append(time.perf_counter() - began)
            prompts = [[5 + i, 6, 7, 8] for i in range(asked.prompts)]
            params = SamplingParams(max_tokens=asked.tokens, n=asked.samples, ignore_eos=True)
            generators.generate(prompts, params)
            began = time.perf_counter()
            generators.generate(prompts, params)
            rate = asked.prompts * asked.samples * asked.tokens / (time.perf_counter() - began)
            nbytes = generators.hand_over.parcel.manifest.nbytes
    return {
        "generators": count,
        "way": way,
        "bytes": nbytes,
        "hand_over_s": statistics.median(seconds),
        "hand_over_s_all": seconds,
        "bytes_per_s": nbytes * count / statistics.median(seconds),
        "tokens_per_s": rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--store-gib", type=float, default=1.5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    described = machine()
    lm = load(asked.model, dtype=asked.dtype)
    with open_cluster("local", Workers(cpus=0.5, store_gib=asked.store_gib), print) as cluster:
        found = [measured(cluster, lm, asked, n, way) for way in ("store", "disk") for n in (1, 2)]
    rows = [
        [
            f"{one['generators']} by {one['way']}",
            f"{one['bytes'] / 1e6:.1f}",
            f"{one['hand_over_s']:.2f}",
            f"{one['bytes_per_s'] / 1e6:.0f}",
            f"{one['tokens_per_s']:.0f}",
        ]
        for one in found
    ]
    show(asked.model, ["generators", "MB", "hand-over s", "MB/s", "tokens/s"], rows)
    report("cluster_handover", asked, described, {"measured": found})


if __name__ == "__main__":
    start(main)
