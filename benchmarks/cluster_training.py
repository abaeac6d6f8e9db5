"""What ranks say to each other: bytes and seconds of a training step, and of putting all weights together.

    python benchmarks/cluster_training.py --preset tiny --rows 8 --tokens 256

Ranks of one machine share its cores: more of them make no step faster here. Bytes are the same anywhere.
Below what is measured stands what `budget/schedule.py` projects for the published layout on fewer GPUs and
more: it is reckoned from stated inputs, none of it was run."""

import argparse
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import machine, report

from shoestring.budget.cluster_file import read_cluster
from shoestring.budget.hardware import load_hardware
from shoestring.budget.schedule import step_of
from shoestring.budget.simulate import middle_of
from shoestring.cluster.learner import ParallelLearner
from shoestring.cluster.parallelize import ParallelSettings
from shoestring.cluster.world import join, meet_at
from shoestring.lm import LanguageModel
from shoestring.models.presets import preset_config
from shoestring.models.transformer import Transformer
from shoestring.origin import Lineage
from shoestring.text.packing import pack_documents
from shoestring.train.batch import MicroBatch
from shoestring.train.loss import sft_loss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings

WORLDS = [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)]
GPUS = [256, 512, 1024, 2048, 4096]
RECIPE = Path(__file__).parents[1] / "recipes/v3-671b.toml"
OBJECTIVES = Objectives(mtp_weight=0.3, balance_weight=1e-4, bias_update_speed=1e-3)


def rank_main(rank: int, size: int, expert: int, port: int, asked: argparse.Namespace, answers: Any) -> None:
    torch.set_num_threads(1)
    world = join(
        rank, size, meet_at(rank, size, "127.0.0.1", port), expert, folder=Path(tempfile.gettempdir())
    )
    config = preset_config(asked.preset)
    network = Transformer(config)
    network.init_weights(0)
    network.to(getattr(torch, asked.dtype))
    nothing: Any = None  # no text is read here
    lm = LanguageModel(network, nothing, nothing, config, Lineage(()), asked.preset)
    learner = ParallelLearner(lm, world, ParallelSettings(expert=expert), OptimSettings(), 100, OBJECTIVES)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (asked.rows, asked.tokens), generator=generator).tolist()
    packed = [pack_documents([[row]], document_mask=False) for row in ids]
    total = sum(len(p.targets) for p in packed)
    batches = [MicroBatch(p, torch.full((len(p.targets),), 1.0 / total)) for p in packed]
    learner.update(batches, sft_loss)
    world.traffic.num_bytes, world.traffic.seconds, began = 0, 0.0, time.perf_counter()
    for _ in range(asked.steps):
        learner.update(batches, sft_loss)
    seconds = (time.perf_counter() - began) / asked.steps
    began = time.perf_counter()
    moved = sum(tensor.numel() * tensor.element_size() for _, tensor in learner.weights())
    if rank == 0:
        handed = time.perf_counter() - began
        share = world.traffic.seconds / asked.steps / seconds
        answers.put((seconds, share, world.traffic.num_bytes / asked.steps, moved, handed))
    world.close()


def measured(size: int, expert: int, asked: argparse.Namespace, context: Any) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = context.Queue()
    given = [(rank, size, expert, port, asked, answers) for rank in range(size)]
    ranks = [context.Process(target=rank_main, args=one) for one in given]
    for process in ranks:
        process.start()
    seconds, share, came, moved, handed = answers.get()
    for process in ranks:
        process.join()
    return {
        "ranks": size,
        "expert": expert,
        "step_s": seconds,
        "communication_share": share,
        "bytes_to_a_rank": came,
        "weights_bytes": moved,
        "weights_s": handed,
    }


def projected(gpus: int) -> dict[str, Any]:
    """The first stage of 671B's training on so many GPUs, its batch unchanged."""
    cluster = read_cluster(RECIPE)
    assert cluster is not None
    data = gpus // cluster.pipeline
    cluster = cluster.model_copy(update={"gpus": gpus, "data": data, "expert": min(cluster.expert, data)})
    config, chip = preset_config(cluster.preset), load_hardware().find(cluster.hardware)
    stage = cluster.stage[0]
    step = step_of(cluster, config, chip, middle_of(cluster.efficiency), stage)
    return {
        "gpus": gpus,
        "expert": cluster.expert,
        "step_s": step.seconds,
        "exposed_all_to_all_share": step.exposed / step.seconds,
        "bubble_share": step.bubble / step.seconds,
        "update_share": step.update / step.seconds,
        "tokens_per_gpu_second": stage.batch * stage.sequence / step.seconds / gpus,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path, help="write what was measured and projected")
    asked = parser.parse_args()
    described = machine()
    print(f"{asked.preset}, {asked.rows} rows of {asked.tokens} tokens, {asked.dtype}, one thread a rank")
    print("ranks expert  s/step  in collectives  MB to a rank/step  all weights: MB      s")
    context = multiprocessing.get_context("forkserver")  # whose children have imported everything
    context.set_forkserver_preload(["shoestring.cluster.learner", "cluster_training"])
    found = []
    for size, expert in WORLDS:
        one = measured(size, expert, asked, context)
        found.append(one)
        print(f"{size:5} {expert:6} {one['step_s']:7.2f} {one['communication_share']:14.0%}", end=" ")
        print(f"{one['bytes_to_a_rank'] / 1e6:18.1f} {one['weights_bytes'] / 1e6:16.1f}", end=" ")
        print(f"{one['weights_s']:6.2f}", flush=True)
    further = [projected(gpus) for gpus in GPUS]
    print(f"\nPROJECTED, never run: {RECIPE.stem}, its first stage, batch unchanged, middle of every input")
    print(" GPUs expert  s/step  all-to-all not hidden  bubble  update  tokens/s/GPU")
    for one in further:
        print(f"{one['gpus']:5} {one['expert']:6} {one['step_s']:7.1f}", end=" ")
        print(f"{one['exposed_all_to_all_share']:22.1%} {one['bubble_share']:7.1%}", end=" ")
        print(f"{one['update_share']:7.1%} {one['tokens_per_gpu_second']:13.0f}")
    report("cluster_training", asked, described, {"measured": found, "projected": further})


if __name__ == "__main__":
    main()
