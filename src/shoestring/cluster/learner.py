"""The Learner handle over many ranks: what each of them does of one optimizer step.

The same as `train.learner.Learner` in one process: sums are made first, over micro-batches and ranks, and
what is a mean was divided by its count once, in the micro-batches' weights."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from shoestring.cluster import checkpoint
from shoestring.cluster.optimizer import SharedOptimizer
from shoestring.cluster.parallelize import ParallelSettings, local_modules, shared_network
from shoestring.cluster.shares import public_spans, shares_of, take_share, whole_tensors
from shoestring.cluster.sums import Sums
from shoestring.cluster.turns import Turn, share_out, smallest_of
from shoestring.cluster.world import World
from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.models.numerics import uses_fp8
from shoestring.ops.memory import give_back, ran_out
from shoestring.train.batch import MicroBatch
from shoestring.train.learner import Learner, optimizer_fits, row_too_long
from shoestring.train.lora import Adapters
from shoestring.train.loss import HeadLoss, TokenLoss
from shoestring.train.objectives import Objectives
from shoestring.train.optim import OptimSettings
from shoestring.train.passes import forward_pass
from shoestring.train.split import num_samples
from shoestring.train.state import StateFile, TrainState

MANY = 1 << 62


class ParallelLearner(Learner):
    """One rank of them. Every method is called on all ranks with the same arguments and gives all of them the
    same answer, unless it says otherwise. `lm.network` is this rank's share."""

    def __init__(
        self,
        lm: LanguageModel,
        world: World,
        parallel: ParallelSettings,
        settings: OptimSettings,
        total_steps: int,
        objectives: Objectives | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        """lm: whole, the same on all ranks, or with a network without numbers (meta), which `load` or `read`
        then brings. Its dtype is that of products and of what `weights` and `save` give. Raises BadInput
        where model and ranks don't fit."""
        lm.refuse_quantized("train")
        if adapters is not None:
            raise BadInput(
                "lora is trained in one process: its matrices are few; leave out the ranks or lora"
            )
        self.dtype, self.world, self.parallel = lm.dtype, world, parallel
        self.settings, self.total_steps = settings, total_steps
        self.objectives, self.adapters = objectives or Objectives(), None
        whole = lm.network
        network = shared_network(lm.config, self.dtype, world, parallel, uses_fp8(whole))
        self.lm = dataclasses.replace(lm, network=network)
        self.shares, self.spans = shares_of(network, world), public_spans(lm.config)
        self.shared = SharedOptimizer(network, self.shares, world, settings)
        self._at_first_step()
        if not whole.embed_tokens.is_meta:
            self.load(whole.public_tensors())

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Whole tensors by public name; each rank keeps its share."""
        given: set[str] = set()

        def noted() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in tensors:
                given.add(name)
                yield name, tensor

        take_share(self.shares, dict(self.lm.network.named_buffers()), self.spans, noted())
        assert given == self.spans.keys(), f"missing: {sorted(self.spans.keys() - given)[:3]}"

    def read(self, folder: Path) -> None:
        """Weights from a Hugging Face folder that all ranks see. Raises BadInput."""
        checkpoint.read_model(self, folder)

    def try_out(self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss) -> None:
        self._accumulate(batches, loss_of, 1.0)
        with optimizer_fits():
            self.shared.try_out()

    def _step(self, rate: float) -> float:
        with self.world.phase("the gradient's norm"), optimizer_fits():
            return self.shared.step(rate)

    def _accumulate(
        self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float
    ) -> Sums:
        """The gradient of all micro-batches, in this rank's share. Where one runs out of memory on any rank
        all begin anew with smaller ones, which later steps keep to. Raises ShoestringError, on all ranks,
        where a single row doesn't fit."""
        splits = 0
        while True:
            sums = Sums([batch.num_targets for batch in batches], oom_splits=splits)
            passes = share_out(batches, self.world.size, self.most_tokens)
            fits = self._add_up(passes, loss_of, temperature, sums)
            if fits is None:
                with self.world.phase("sums over the ranks"):
                    sums.over(self.world)
                return sums
            self.shared.clear()
            give_back(self.world.device)
            self.most_tokens = fits
            splits += 1

    def _add_up(
        self, passes: list[list[Turn]], loss_of: TokenLoss | HeadLoss, temperature: float, sums: Sums
    ) -> int | None:
        """-> the most tokens of a micro-batch that will do, where one ran out of memory; the rest is not
        tried."""
        rows = sum(len(turn.batch.packed.lengths) for turns in passes for turn in turns if not turn.idle)
        for number, turns in enumerate(passes, start=1):
            turn = turns[self.world.rank]
            share = 0.0 if turn.idle else len(turn.batch.packed.lengths) / rows
            with self.world.phase(f"step {self.step + 1}, pass {number} of {len(passes)}"):
                ran = self._pass(turn, loss_of, temperature, share, sums)
                if not ran:
                    self._stand_in(turn, loss_of, temperature)
                most = self._agree_on_tokens(turn, ran)
            if most is not None:
                return most
        return None

    def _pass(
        self, turn: Turn, loss_of: TokenLoss | HeadLoss, temperature: float, share: float, sums: Sums
    ) -> bool:
        """False where the memory ran out; its graph goes with the error."""
        self.world.traffic.begin()
        try:
            passed = forward_pass(self.lm.network, turn.batch, loss_of, temperature, self.objectives, share)
            passed.total.backward()
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            return False
        sums.add(turn, passed)
        sums.count_loads(turn, passed)
        return True

    def _stand_in(self, turn: Turn, loss_of: TokenLoss | HeadLoss, temperature: float) -> None:
        """The collectives that the others still wait for, with next to nothing in them. A pass that broke off
        leaves FSDP's modules in the middle of it, so new ones take their place first; all of this rank's."""
        made = self.world.traffic.number
        give_back(self.world.device)
        told = [module.told for module in local_modules(self.lm.network).values()]
        biases = [router.e_score_correction_bias for router in self.lm.network.routers()]
        fp8 = uses_fp8(self.lm.network)
        self.lm.network = network = shared_network(self.lm.config, self.dtype, self.world, self.parallel, fp8)
        for module, counts in zip(local_modules(network).values(), told, strict=True):
            module.told = counts
        for router, bias in zip(network.routers(), biases, strict=True):
            router.e_score_correction_bias.copy_(bias)
        self.shares = shares_of(network, self.world)
        self.shared.move(network, self.shares)
        self.world.traffic.begin(made_before=made)
        nothing = smallest_of(turn.batch)
        forward_pass(network, nothing, loss_of, temperature, self.objectives, 0.0).total.backward()

    def _agree_on_tokens(self, turn: Turn, ran: bool) -> int | None:
        """None where all ran. Raises ShoestringError, on all ranks, where one had a single row."""
        tokens = turn.batch.num_tokens
        whole = ran or num_samples(turn.batch.packed) > 1
        mine = [MANY if ran else tokens // 2, MANY if whole else tokens]
        half, single = self.world.least(torch.tensor(mine, device=self.world.device)).tolist()
        if single != MANY:
            raise row_too_long(single)
        return None if half == MANY else half

    def forward(
        self, batch: MicroBatch, loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Loss () and the targets' logprobs (N,), without a graph."""
        loss, (logprobs,) = self.forward_all([batch], loss_of, temperature)
        return torch.tensor(loss), logprobs

    @torch.no_grad()
    def forward_all(
        self, batches: Sequence[MicroBatch], loss_of: TokenLoss | HeadLoss, temperature: float = 1.0
    ) -> tuple[float, list[Tensor]]:
        """The batches' summed loss and the logprobs of each one's targets; nothing is learned."""
        passes = share_out(batches, self.world.size, self.most_tokens)
        sums = Sums([batch.num_targets for batch in batches])
        network = self.lm.network
        for number, turns in enumerate(passes, start=1):
            turn = turns[self.world.rank]
            with self.world.phase(f"forward pass {number} of {len(passes)}"):
                passed = forward_pass(network, turn.batch, loss_of, temperature, Objectives(), 0.0)
                network.reshard()  # type: ignore[operator]  # a backward pass would have
            sums.add(turn, passed)
        with self.world.phase("sums over the ranks"):
            sums.over(self.world)
        return sums.loss, sums.logprobs

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(public name, whole tensor), one after the other on all ranks, which must all go through them."""
        with self.world.phase("weights put together"):
            yield from whole_tensors(self.lm.network, self.world, self.spans, self.dtype)

    def state_dict(self) -> TrainState:
        """Whole on rank 0, and without tensors on the others. `write_state` needs no such room."""
        return checkpoint.whole_state(self)

    def write_state(self, path: Path) -> None:
        """The tensors of `state_dict` as the file that `train.state` reads, each rank its own numbers."""
        checkpoint.write_state(self, path)

    def load_state_dict(self, state: TrainState) -> None:
        """Of any number of ranks; of a file each rank reads its own rows alone."""
        checkpoint.load_state(self, state)
        self.step, self._bad_steps, self.most_tokens = state.step, state.bad_steps, state.most_tokens

    def read_state(self, path: Path, plain: TrainState) -> None:
        """`load_state_dict` of tensors in a file that all ranks see."""
        self.load_state_dict(dataclasses.replace(plain, tensors=StateFile(path)))

    def plain_state(self) -> TrainState:
        return TrainState(self.step, self._bad_steps, {}, self.most_tokens)

    def save(self, folder: Path) -> None:
        """A Hugging Face folder, the weights written by all ranks."""
        checkpoint.save_model(self, folder)
