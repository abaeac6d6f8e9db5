"""One forward pass over a micro-batch, with all that its loss is made of."""

from dataclasses import dataclass

from torch import Tensor

from shoestring.models.transformer import Output, Transformer
from shoestring.train.batch import MicroBatch, Placed
from shoestring.train.loss import HeadLoss, TokenLoss, head_loss, sft_loss
from shoestring.train.objectives import Objectives, further_targets


@dataclass
class Passed:
    """What one forward pass gives: the loss to go back from, its main part, and the rest for the metrics."""

    total: Tensor
    main: Tensor
    logprobs: Tensor  # (N,)
    mtp: float
    outputs: list[Output]


def forward_pass(
    network: Transformer,
    batch: MicroBatch,
    loss_of: TokenLoss | HeadLoss,
    temperature: float,
    objectives: Objectives,
    share: float,
) -> Passed:
    """share: of the step's rows, over which its balance loss is a mean. temperature: of a TokenLoss's
    logprobs; a HeadLoss has its own."""
    batch = batch.to(network.embed_tokens.device)
    placed = Placed.of(batch.packed, network.embed_tokens.device)
    output = network(placed.ids, placed.positions, cache=placed.rows, routing=batch.routing)
    hidden = output.hidden.index_select(0, placed.predict_from)
    head = hidden, network.head_weight, placed.targets
    if isinstance(loss_of, HeadLoss):
        main, logprobs = loss_of(*head, batch, network.head)
    else:
        of_batch = lambda logprobs: loss_of(logprobs, batch)  # noqa: E731
        main, logprobs = head_loss(*head, of_batch, temperature, network.head)
    passed = Passed(main, main, logprobs, 0.0, [output])
    if objectives.mtp_weight and len(network.mtp):
        _add_further(passed, network, batch, placed, objectives.mtp_weight)
    if objectives.balance_weight:
        for output in passed.outputs:
            if output.aux_loss is not None:
                passed.total = passed.total + objectives.balance_weight * share * output.aux_loss
    return passed


def _add_further(
    passed: Passed, network: Transformer, batch: MicroBatch, placed: Placed, mtp_weight: float
) -> None:
    """The MTP modules' losses (eq. 24-25), cross entropy by the batch's own weights."""
    hidden = passed.outputs[0].hidden
    device, modules = hidden.device, len(network.mtp)
    for depth in range(modules):
        further = further_targets(batch.packed, depth)
        output = network.predict_further(
            depth, hidden, further.next_ids.to(device), placed.positions, placed.rows
        )
        hidden = output.hidden
        weights = batch.weights[further.kept.to(device)] * (mtp_weight / modules)
        own = MicroBatch(batch.packed, weights)
        loss, _ = head_loss(
            hidden.index_select(0, further.predict_from.to(device)),
            network.head_weight,
            further.targets.to(device),
            lambda logprobs, own=own: sft_loss(logprobs, own),
            logits_of=network.head,
        )
        passed.total = passed.total + loss
        passed.mtp += loss.item() / mtp_weight
        passed.outputs.append(output)
