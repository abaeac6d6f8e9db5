"""A training step of groups whose prompt stands once for all samples, beside the same step with every row
carrying the prompt itself. Both are ours, in one process, in turns; that loss and gradient are the same is
shown first. Seconds are of forward, backward and update."""

import argparse
import random
import time
from dataclasses import dataclass
from typing import Any

import common
import torch

from shoestring.errors import ShoestringError
from shoestring.lm import LanguageModel, load
from shoestring.rl.loss import PolicyLoss, PolicyLossSettings
from shoestring.text.message import Rendered
from shoestring.text.packing import Family, pack, split_by_tokens
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner
from shoestring.train.optim import OptimSettings

SHARED, APART = "prompt once", "prompt in every row"
LEARNING_RATE = 1e-7
TOLERANCE = 1e-3  # of the gradient's norm, in float32
LOSS = PolicyLoss(PolicyLossSettings())


@dataclass(frozen=True)
class Shape:
    """Of one step: groups of `samples`, in tokens."""

    groups: int
    samples: int
    prompt: int
    answer: int


def families(shape: Shape, vocab: int, seed: int, shared: bool) -> list[list[Family]]:
    """Random ids, each group its families: one that shares its prompt, or one for each row."""
    rng = random.Random(seed)
    found = []
    for _ in range(shape.groups):
        prompt = rng.choices(range(vocab), k=shape.prompt)
        answers = [rng.choices(range(vocab), k=shape.answer) for _ in range(shape.samples)]
        if shared:
            found.append([Family(prompt, [Rendered(a, [True] * len(a)) for a in answers])])
        else:
            trained = [False] * shape.prompt + [True] * shape.answer
            found.append([Family([], [Rendered(prompt + a, trained)]) for a in answers])
    return found


def batches(shape: Shape, vocab: int, seed: int, limit: int, shared: bool) -> list[MicroBatch]:
    """Micro-batches within the limit as far as groups, or rows that carry their prompt, allow."""
    groups = families(shape, vocab, seed, shared)
    pieces = groups if shared else [[family] for group in groups for family in group]
    size = shape.prompt + shape.samples * shape.answer if shared else shape.prompt + shape.answer
    targets = shape.groups * shape.samples * shape.answer
    made = []
    for chosen in split_by_tokens([size] * len(pieces), limit):
        packed = pack([family for i in chosen for family in pieces[i]])
        count = len(packed.targets)
        advantages = torch.tensor([1.0, -1.0])[torch.from_numpy(packed.owners) % 2]
        weights = torch.full((count,), 1.0 / targets)
        made.append(MicroBatch(packed, weights, advantages, torch.full((count,), -10.0)))
    return made


def gradient(lm: LanguageModel, given: list[MicroBatch]) -> tuple[float, list[torch.Tensor]]:
    learner = Learner(lm, OptimSettings(), 1)
    total = 0.0
    for batch in given:
        loss, _ = learner.forward(batch, LOSS)
        loss.backward()
        total += loss.item()
    return total, learner.optimizer.grads


def check(args: argparse.Namespace) -> dict[str, float]:
    """One float32 step of two small groups both ways. Raises ShoestringError where they differ."""
    shape = Shape(2, 4, 24, 24)
    found = []
    for shared in (True, False):
        lm = load(args.model, dtype="float32")
        given = batches(shape, lm.config.vocab_size, args.seed, args.micro_batch_tokens, shared)
        found.append(gradient(lm, given))
    (loss, ours), (other_loss, theirs) = found
    norm = torch.stack([g.norm() for g in theirs]).norm().item()
    apart = torch.stack([(a - b).norm() for a, b in zip(ours, theirs, strict=True)]).norm().item() / norm
    print(f"float32: losses {loss:.6f} and {other_loss:.6f}, gradients differ by {apart:.1e} of their norm")
    if not apart < TOLERANCE:
        raise ShoestringError(f"the gradients differ by {apart:.1e} of their norm: not the same work")
    return {"loss_shared": loss, "loss_apart": other_loss, "gradient_difference": apart}


def seconds(learner: Learner, given: list[MicroBatch]) -> float:
    began = time.perf_counter()
    learner.update(given, LOSS)
    return time.perf_counter() - began


def measure(args: argparse.Namespace, shape: Shape) -> list[dict[str, dict[str, float]]]:
    """Both ways in each round, who begins alternating."""
    lm = load(args.model, dtype="bfloat16")
    learner = Learner(lm, OptimSettings(learning_rate=LEARNING_RATE), 10_000)
    made = {
        name: batches(shape, lm.config.vocab_size, args.seed, args.micro_batch_tokens, name == SHARED)
        for name in (SHARED, APART)
    }
    tokens = {name: sum(b.num_tokens for b in given) for name, given in made.items()}
    for given in made.values():
        learner.update(given, LOSS)
    rounds = []
    for number in range(args.rounds):
        order = [SHARED, APART] if number % 2 == 0 else [APART, SHARED]
        taken = {name: seconds(learner, made[name]) for name in order}
        rounds.append({name: {"seconds": taken[name], "tokens": tokens[name]} for name in (SHARED, APART)})
    return rounds


def tabulate(rounds: list[dict[str, dict[str, float]]], shape: Shape) -> dict[str, Any]:
    took = {name: common.series(rounds, name, "seconds") for name in (SHARED, APART)}
    faster = common.ratios(took[APART], took[SHARED])
    result = {
        "seconds": {name: common.spread(values) for name, values in took.items()},
        "tokens": {name: rounds[0][name]["tokens"] for name in took},
        "times_faster": faster,
    }
    rows = [
        (
            name,
            f"{rounds[0][name]['tokens']:,.0f}",
            common.in_words(result["seconds"][name], 2),
            common.in_words(faster, 2) if name == SHARED else "",
        )
        for name in took
    ]
    columns = ("", "tokens computed", "seconds a step, median (min-max)", "times faster")
    title = f"{shape.groups} groups of {shape.samples}, prompts of {shape.prompt} tokens and answers alike"
    common.show(title, columns, rows)
    return result


def parse() -> argparse.Namespace:
    parser = common.arguments(__doc__, rounds=6)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128], help="of prompt and answer each")
    parser.add_argument("--micro-batch-tokens", type=int, default=4096)
    return parser.parse_args()


def main() -> None:
    args = parse()
    described = common.machine()
    whole: dict[str, Any] = {"checks": check(args), "result": {}, "rounds": {}}
    for length in args.lengths:
        shape = Shape(args.groups, args.samples, length, length)
        rounds = measure(args, shape)
        whole["rounds"][str(length)] = rounds
        whole["result"][str(length)] = tabulate(rounds, shape)
    common.report("shared_prompt", args, described, whole)


if __name__ == "__main__":
    common.start(main)
