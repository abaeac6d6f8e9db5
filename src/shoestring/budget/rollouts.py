"""R1 on a cluster: how long rounds of sampling take where the longest reply is what everybody waits for, what
their training takes, and what the rows of the second SFT cost to make."""

from dataclasses import dataclass

from shoestring.budget.cluster_file import Cluster, R1Run, Serving, three
from shoestring.budget.flops import layer_flops, pair_flops
from shoestring.budget.hardware import Chip
from shoestring.budget.memory import cache_bytes
from shoestring.budget.ranges import Range, total
from shoestring.models.config import ModelConfig

REFERENCE = 4 / 3  # of a training step: a forward pass of the reference beside it
OTHER_MEMORY = 12e9  # bytes of a serving GPU that are no weights and no cache
LATENCY_STREAMS = 128  # of a GPU, of which the published kernel times are
SHARED_LAST = 2  # micro-batches whose messages and products take turns


@dataclass(frozen=True)
class R1Hours:
    zero: Range
    data: Range
    r1: Range

    @property
    def gpu_hours(self) -> Range:
        return total((self.zero, self.data, self.r1))


def r1_hours(run: R1Run, hours_per_trillion: Range, out_per_node: Range, gpus_per_node: int) -> R1Hours:
    """A round begins so many replies at once and ends with the longest: its tokens over the speed of one
    stream. Training adds its tokens at the pretraining's price, and the reference's forward pass."""
    return R1Hours(
        zero=_rl_hours(run, Range.exact(run.zero_steps), run.longest, hours_per_trillion),
        data=_data_hours(run, out_per_node, gpus_per_node),
        r1=_rl_hours(run, three(run.steps), ((10**9, run.longest[0][1]),), hours_per_trillion),
    )


def _rl_hours(
    run: R1Run, steps: Range, longest: tuple[tuple[int, int], ...], hours_per_trillion: Range
) -> Range:
    per_round = run.samples_per_round / run.samples_per_step

    def waited(count: float) -> float:
        """Tokens of all rounds' caps, one after the other."""
        done, tokens = 0.0, 0.0
        for until, cap in longest:
            own = min(count, until) - done
            if own > 0:
                tokens, done = tokens + own / per_round * cap, done + own
        return tokens

    tokens = steps.map(waited) * three(run.reaches)
    sampling = tokens.over(three(run.tokens_per_s)) * (run.gpus / 3600)
    trained = steps * run.samples_per_step * three(run.mean_length) * 1e-12
    return sampling + trained * hours_per_trillion * REFERENCE


def _data_hours(run: R1Run, out_per_node: Range, gpus_per_node: int) -> Range:
    tokens = three(run.samples_for_a_kept_one) * (run.kept_samples * run.kept_tokens)
    return tokens.over(out_per_node) * (gpus_per_node / 3600)


@dataclass(frozen=True)
class Served:
    """tokens_per_s: of a decoding node. usd_per_million: of its output, prompts' reading not counted."""

    tokens_per_s: Range
    per_user: Range
    usd_per_million: Range
    fits_streams: int  # a GPU has memory for so many at the mean context


class TooSmall(Exception):
    """A serving GPU has no room for its weights and one stream; the text says how much of it is wanted."""


def served(cluster: Cluster, wanted: Serving, config: ModelConfig, chip: Chip, price: Range) -> Served:
    """One decoding step: weights and latents are read, products and attention worked out, messages wait on
    the network while another half of the streams computes. price: USD a GPU hour. Raises TooSmall."""
    narrow = chip.rate("fp8")[1]
    plain = chip.rate("bf16")[1]
    weights = _weights_of_a_gpu(wanted, config)
    latents = wanted.mean_context * cache_bytes(config)  # bytes of one stream
    room = _streams_that_fit(wanted, chip, weights, latents)
    mixtures = sum(config.is_moe(layer) for layer in range(config.num_hidden_layers))
    matrices = sum(layer_flops(config, layer) for layer in range(config.num_hidden_layers))
    pair = pair_flops(config, absorbed=True)

    def step(streams: float, share: float, messages_us: float) -> float:
        reading = (weights + streams * latents) / (chip.bandwidth_gbs * 1e9 * share)
        products = streams * matrices / (narrow * 0.5)
        attention = streams * wanted.mean_context * pair * config.num_hidden_layers / (plain * 0.58)
        computing = max(reading, attention) + products
        half = mixtures * messages_us * 1e-6 * min(1.0, streams / SHARED_LAST / LATENCY_STREAMS + 0.35)
        return max(computing, SHARED_LAST * half) + 0.002

    low, mid, high = (min(streams, room) for streams in wanted.streams_per_gpu)
    share = three(wanted.attention_bandwidth)
    messages = three(wanted.dispatch_us) + three(wanted.combine_us)
    slow = step(low, share.low, messages.high)
    usual = step(mid, share.mid, messages.mid)
    fast = step(high, share.high, messages.low)
    per_gpu = sorted((low / slow, mid / usual, high / fast))
    per_node = Range(*per_gpu) * cluster.gpus_per_node
    users = sorted((1 / slow, 1 / usual, 1 / fast))
    a_second = price * (cluster.gpus_per_node / 3600)
    return Served(per_node, Range(*users), (a_second * 1e6).over(per_node), room)


def _streams_that_fit(wanted: Serving, chip: Chip, weights: float, latents: float) -> int:
    free = chip.memory_gib * 2**30 - weights - OTHER_MEMORY
    if free < latents:
        raise TooSmall(
            f"{chip.name} has {chip.memory_gib:,.1f} GiB; one of {wanted.gpus} GPUs that serve needs "
            f"{chip.memory_gib + (latents - free) / 2**30:,.1f} GiB for its weights and a single stream"
        )
    return int(free / latents)


def _weights_of_a_gpu(wanted: Serving, config: ModelConfig) -> float:
    """Bytes in FP8: attention whole, experts shared out with one shared expert each."""
    expert = 3 * config.hidden_size * config.moe_intermediate_size
    mixtures = sum(config.is_moe(layer) for layer in range(config.num_hidden_layers))
    routed = -(-config.n_routed_experts // wanted.gpus)
    attention = sum(layer_flops(config, layer) for layer in range(config.num_hidden_layers)) / 2
    attention -= mixtures * (config.num_experts_per_tok + config.n_shared_experts) * expert
    return (
        mixtures * (routed + config.n_shared_experts) * expert
        + attention
        + 4 * config.vocab_size * config.hidden_size
    )
