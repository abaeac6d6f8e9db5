"""Training and generating as phases of a plan: how many tokens and operations, how long, in how much
memory."""

from dataclasses import dataclass, replace

import torch

from shoestring.budget.flops import adapter_flops, causal_pairs, forward_flops, mtp_flops, train_flops
from shoestring.budget.machine import Machine
from shoestring.budget.memory import Adapter, Memory, generating_memory, scoring_memory, training_memory
from shoestring.budget.plan import NOTHING, Phase
from shoestring.budget.ranges import Range
from shoestring.jobs.plan_models import Known
from shoestring.models.config import ModelConfig
from shoestring.models.names import linear_parts
from shoestring.models.transformer import Transformer
from shoestring.train.lora import LoRASettings, chosen_targets

READY_S = 1.5  # a stage's folder, judge processes, a tokenizer
LOAD_S_PER_PARAMETER = 4e-8  # read, dequantised, written at the end with its card and hashes
READ_AGAIN = 0.1  # of what prompts begin alike with: once, and where it had gone from the cache
TAIL = 0.7  # of the cap that the longest of a batch's replies reaches, where the mean is not far below it


@dataclass(frozen=True)
class Reckoner:
    """The phases of one unit on one machine."""

    machine: Machine
    unit: str
    stage: str

    def phase(
        self, kind: str, seconds: Range, tokens: Range, flops: Range, memory: Memory | None = None
    ) -> Phase:
        return Phase(self.unit, self.stage, kind, seconds, tokens, flops, memory)

    def other(self, parameters: float, more: float = 0.0, saved: int = 0) -> Phase:
        """Loading, saving, waiting: what belongs to no kind of work. saved: states written meanwhile."""
        seconds = READY_S + LOAD_S_PER_PARAMETER * parameters + more
        seconds += saved * 12 * parameters / self.machine.disk
        return self.phase("other", self.machine.spread(seconds), Range.exact(0), Range.exact(0))

    def train(
        self,
        model: Known,
        steps: float,
        tokens: Range,
        row: float,
        target_share: float,
        at_once: int,
        mtp: bool = False,
        lora: LoRASettings | None = None,
        passes: float = 1.0,
        computed: float = 1.0,
        kind: str = "train",
        memory: Memory | None = None,
    ) -> Phase:
        """tokens: of all steps; row: tokens of one that see each other. passes: times the work of one forward
        and backward pass (a reference's forward pass is a third more). computed: share of the tokens that
        are, where rows share their beginning."""
        config, machine = model.config, self.machine
        adapter = None if lora is None else adapter_of(config, lora)

        def flops_of(count: float) -> float:
            counts = (
                int(count * computed),
                int(count / row * causal_pairs(int(row))),
                int(count * target_share),
            )
            if adapter is not None:
                return passes * adapter_flops(config, *counts, adapter.learned)
            further = 3 * mtp_flops(config, *counts) if mtp else 0
            return passes * (train_flops(config, *counts) + further)

        flops = tokens.map(flops_of)
        each = tokens.mid / max(1.0, steps)
        batch = int(min(at_once, each))
        # matched by their own tokens: a longer row means more work in the same steps
        seconds = tokens.map(
            lambda count: (
                machine.train_seconds(config, flops_of(count), passes * computed * count, batch)
                + steps * machine.update_seconds(model.parameters if adapter is None else adapter.learned)
            )
        )
        memory = memory or training_memory(
            config,
            batch,
            int(batch * target_share),
            machine.width,
            mtp,
            adapter,
            native=machine.launch_s == 0,
        )
        return self.phase(kind, seconds * machine.spread(1.0), tokens, flops, memory)

    def score(self, kind: str, model: Known, tokens: Range, row: float, share: float, at_once: int) -> Phase:
        """A forward pass over tokens in rows of so many, logits at `share` of them; nothing learns."""
        config, machine = model.config, self.machine

        def flops_of(count: float) -> float:
            pairs = int(count / row * causal_pairs(int(row)))
            return forward_flops(config, int(count), pairs, int(count * share))

        # what is moved between passes and what is launched are of three passes there, and this is one
        seconds = tokens.map(lambda n: machine.train_seconds(config, flops_of(n), n / 3, at_once))
        memory = scoring_memory(config, int(min(at_once, tokens.mid)), machine.width)
        return self.phase(kind, seconds * machine.spread(1.0), tokens, tokens.map(flops_of), memory)

    def generate(
        self,
        kind: str,
        model: Known,
        rounds: float,
        prompts: float,
        samples: int,
        prompt: float,
        reply: Range,
        cap: int,
        max_batch: int,
        alike: float = 0.0,
    ) -> Phase:
        """`rounds` times: so many prompts, each read once, and its samples. Replies end one by one, so the
        rows of a step are fewer than were begun: those of the mean over a round. alike: tokens that all
        prompts begin with, which are counted in each and read a few times. tokens: of the replies."""
        config, machine = model.config, self.machine
        streams = prompts * samples
        at_once = min(streams, max_batch)

        def steps_of(mean: float) -> float:
            longest = min(cap, max(mean * 1.6, TAIL * cap if mean > 0.25 * cap else mean * 2.5))
            return longest if streams <= max_batch else mean * streams / max_batch + longest - mean

        computed = prompt - (1 - READ_AGAIN) * alike

        def flops_of(mean: float, prompt: float = prompt) -> float:
            read = int(rounds * prompts * prompt)
            made = rounds * streams * mean
            pairs = int(rounds * prompts * causal_pairs(int(prompt)) + made * (prompt + mean / 2))
            own = forward_flops(config, int(made), pairs, int(made), absorbed=True)
            return own + forward_flops(config, read, 0, 0)

        def seconds_of(mean: float) -> float:
            steps = steps_of(mean)
            rows = min(at_once, streams * mean / steps)
            return machine.generate_seconds(config, flops_of(mean, computed), rounds * steps, rows)

        tokens = reply * (rounds * streams)
        memory = generating_memory(config, int(at_once), int(computed + cap), machine.width)
        seconds = reply.map(seconds_of) * machine.spread(1.0)
        return self.phase(kind, seconds, tokens, reply.map(flops_of), memory)


def unmetered(phase: Phase) -> Phase:
    """Work whose seconds are on the bill with their kind's, and its tokens are not."""
    return replace(phase, tokens=NOTHING, flops=NOTHING)


def adapter_of(config: ModelConfig, lora: LoRASettings) -> Adapter:
    """The factors of all matrices that training adapts, counted on the network without its weights. Raises
    BadInput on a target that the model hasn't."""
    with torch.device("meta"):
        network = Transformer(config)
    targets = chosen_targets(network, lora.targets)
    adapted = [part for part in linear_parts(network) if part.name.rsplit(".", 1)[-1] in targets]
    shapes = [(part.stop - part.start, part.linear.in_features) for part in adapted]
    return Adapter(lora.rank * sum(map(sum, shapes)), sum(rows * width for rows, width in shapes))
