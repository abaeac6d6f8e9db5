"""One training step on a cluster, from the operations, bytes and messages that it is made of: what each takes
at stated efficiencies, how a pipeline's bubbles add up (closed forms of arXiv 2412.19437, table 2), what of
the all-to-all is hidden. Hours follow from it; nothing is fitted to hours that anybody published."""

from dataclasses import dataclass
from math import ceil

from shoestring.budget.cluster_file import Cluster, TrainingStage
from shoestring.budget.flops import causal_pairs, layer_flops, pair_flops, recompute_flops
from shoestring.budget.hardware import Chip
from shoestring.models.config import ModelConfig
from shoestring.models.parameters import count_parameters

FLASH_BACKWARD = 2.5  # times the forward pass: five products where it has two


@dataclass(frozen=True)
class Shares:
    """One value of each efficiency."""

    fp8_products: float
    weight_gradients: float
    bf16_products: float
    attention_forward: float
    attention_backward: float
    memory: float
    network: float
    overlapped: float
    balance: float
    gaps: float
    available: float


@dataclass(frozen=True)
class Step:
    """Seconds of one optimizer step on every GPU, by what they go to; `products` to `memory` are of all
    micro-batches."""

    products: float
    attention: float
    head: float
    memory: float
    exposed: float  # of the all-to-all, not hidden behind products
    uneven: float  # waiting for the fullest GPU, between kernels, for the longest stage
    bubble: float
    update: float  # gradients over the replicas, the optimizer, weights back (ZeRO-1)
    down: float
    all_to_all: float  # before any of it is hidden; not a part of the sum
    flops: float  # of one GPU, what the mathematics needs

    @property
    def seconds(self) -> float:
        parts = self.products, self.attention, self.head, self.memory, self.exposed, self.uneven
        return sum(parts) + self.bubble + self.update + self.down

    def parts(self) -> dict[str, float]:
        names = ("products", "attention", "head", "memory", "exposed", "uneven", "bubble", "update", "down")
        return {name: vars(self)[name] for name in names}


def bubble_seconds(schedule: str, stages: int, forward: float, backward: float, weights: float) -> float:
    """Time that a stage idles in a step. forward, backward: of one micro-batch in one stage, the latter with
    its `weights` part; an overlapped pair of both takes their sum."""
    match schedule:
        case "1f1b":
            return (stages - 1) * (forward + backward)
        case "zero-bubble":
            return (stages - 1) * (forward + backward - 2 * weights)
        case _:
            return (stages / 2 - 1) * (forward + backward + backward - 3 * weights)


def all_to_all_bytes(config: ModelConfig, cluster: Cluster) -> tuple[float, float]:
    """Of a token in one mixture layer, forward and backward: bytes over the network, and over the links of
    its node. Dispatch is in the products' precision, combining in bf16. A token's experts lie on few nodes,
    to each of which it is sent once, but for its own, which is among them as often as any other."""
    nodes = max(1, cluster.expert // cluster.gpus_per_node)
    reached = min(cluster.nodes_per_token, nodes)
    away = reached * (1 - 1 / nodes)
    sent = config.hidden_size * ((1 if cluster.precision == "fp8" else 2) + 2)
    inside = config.num_experts_per_tok * (1 - 1 / cluster.gpus_per_node)
    return 2 * away * sent, 2 * inside * sent


def moved_bytes(config: ModelConfig, layer: int) -> float:
    """That a token's forward pass writes to memory and reads from it in one layer beside its products'
    weights: norms, tiles in FP8, queries, keys and values, gates, copies for the experts."""
    c, heads = config, config.num_attention_heads
    norms = 2 * c.hidden_size * (2 + 2 + 1) + 2 * c.hidden_size * 6  # read, write, quantise; residual sums
    heads_made = heads * (2 * c.head_dim + c.value_dim) * 2 * 2 + heads * c.value_dim * 3
    if not c.is_moe(layer):
        return norms + heads_made + c.intermediate_size * 7
    experts = c.num_experts_per_tok + c.n_shared_experts
    copies = c.num_experts_per_tok * c.hidden_size * (2 + 4)  # out in FP8, back in bf16, read and written
    return norms + heads_made + experts * c.moe_intermediate_size * 7 + copies


@dataclass(frozen=True)
class Pipeline:
    """One stage's share of one micro-batch, in seconds."""

    products: float
    weights: float
    attention_forward: float
    attention_backward: float
    recomputed: float
    head: float
    memory: float
    all_to_all: float

    @property
    def forward(self) -> float:
        return self.products + self.attention_forward + self.head / 3 + self.memory / 3

    @property
    def backward(self) -> float:
        rest = self.attention_backward + self.recomputed + self.head * 2 / 3 + self.memory * 2 / 3
        return self.products + self.weights + rest


def pipeline_of(
    cluster: Cluster, config: ModelConfig, chip: Chip, shares: Shares, stage: TrainingStage
) -> Pipeline:
    """A micro-batch is one sequence, of which a GPU has a part where several share it. Time is of the mean
    stage: with both ends' extras (embedding, head, MTP) spread as DualPipe's two directions spread them."""
    c, stages = config, cluster.pipeline
    free = 1 - cluster.communication_sms / cluster.sms if cluster.expert > 1 else 1.0
    narrow, wide = chip.rate(cluster.precision), chip.rate("bf16")
    share = shares.fp8_products if narrow[0] == "fp8" else shares.bf16_products
    rate, plain = narrow[1] * share * free, wide[1] * free
    layers = range(c.num_hidden_layers + c.num_nextn_predict_layers)
    per_stage = stage.sequence / stages / stage.context
    matrices = per_stage * sum(layer_flops(c, layer) for layer in layers)
    matrices += per_stage * c.num_nextn_predict_layers * 4 * c.hidden_size**2
    pairs = causal_pairs(stage.sequence) / stages / stage.context * len(layers) * pair_flops(c)
    logits = per_stage * (1 + c.num_nextn_predict_layers) * 2 * c.hidden_size * c.vocab_size
    again = per_stage * recompute_flops(c) if cluster.recompute else 0.0
    moved = 3 * per_stage * sum(moved_bytes(c, layer) for layer in layers)
    moved += 8 * parameters_of_a_gpu(cluster, c).total  # float32 gradients, read and written each micro-batch
    network, inside = all_to_all_bytes(c, cluster)
    sent = per_stage * sum(c.is_moe(layer) for layer in layers)
    over_network = sent * network / (chip.network_gbs * 1e9 * shares.network)
    over_links = sent * inside / (chip.link_gbs * 1e9 * shares.network)
    return Pipeline(
        products=matrices / rate,
        weights=matrices / (rate * shares.weight_gradients),
        attention_forward=pairs / (plain * shares.attention_forward),
        attention_backward=FLASH_BACKWARD * pairs / (plain * shares.attention_backward),
        recomputed=again / rate,
        head=3 * logits / (plain * shares.bf16_products),
        memory=moved / (chip.bandwidth_gbs * 1e9 * shares.memory),
        all_to_all=max(over_network, over_links) if cluster.expert > 1 else 0.0,
    )


@dataclass(frozen=True)
class Held:
    """Parameters of a GPU in one copy of its stages. Experts are shared out over `expert` GPUs, all else is
    on every one."""

    experts: float
    rest: float

    @property
    def total(self) -> float:
        return self.experts + self.rest


def parameters_of_a_gpu(cluster: Cluster, config: ModelConfig) -> Held:
    sizes = count_parameters(config)
    routed = sizes.parts["routed experts"]
    mtp_routed = 3 * config.n_routed_experts * config.hidden_size * config.moe_intermediate_size
    routed += config.num_nextn_predict_layers * mtp_routed
    rest = sizes.total + sizes.mtp - routed
    return Held(routed / cluster.expert / cluster.pipeline, rest / cluster.pipeline)


def update_seconds(cluster: Cluster, config: ModelConfig, chip: Chip, shares: Shares) -> float:
    """ZeRO-1: gradients go to the replica whose part they are, weights come back. Experts have as many
    replicas as their groups fit into `data`, all else has `data`."""
    held = parameters_of_a_gpu(cluster, config)
    sent = kept = 0.0
    for own, replicas in ((held.experts, cluster.data // cluster.expert), (held.rest, cluster.data)):
        sent += own * (4 + 2) * (1 - 1 / replicas)
        kept += own / replicas
    memory = kept * 26 / (chip.bandwidth_gbs * 1e9 * shares.memory)
    return sent / (chip.network_gbs * 1e9 * shares.network) + memory


def step_of(cluster: Cluster, config: ModelConfig, chip: Chip, shares: Shares, stage: TrainingStage) -> Step:
    one = pipeline_of(cluster, config, chip, shares, stage)
    count = max(1.0, stage.batch * stage.context / cluster.data)  # micro-batches of a replica
    compute = one.forward + one.backward
    hidden = min(one.all_to_all, compute) * shares.overlapped if cluster.overlap else 0.0
    exposed = one.all_to_all - hidden
    blocks = config.num_hidden_layers + config.num_nextn_predict_layers
    longest = ceil(blocks / cluster.pipeline) * cluster.pipeline / blocks
    stretch = longest / (shares.balance * shares.gaps) - 1
    uneven = stretch * compute
    slower = 1 + stretch + exposed / compute
    bubble = bubble_seconds(
        cluster.schedule, cluster.pipeline, one.forward * slower, one.backward * slower, one.weights * slower
    )
    update = update_seconds(cluster, config, chip, shares)
    whole = count * (compute + exposed + uneven) + bubble + update
    return Step(
        products=count * (2 * one.products + one.weights + one.recomputed),
        attention=count * (one.attention_forward + one.attention_backward),
        head=count * one.head,
        memory=count * one.memory,
        exposed=count * exposed,
        uneven=count * uneven,
        bubble=bubble,
        update=update,
        down=whole * (1 / shares.available - 1),
        all_to_all=count * one.all_to_all,
        flops=needed_flops(config, stage.sequence) * stage.batch / cluster.gpus,
    )


def needed_flops(config: ModelConfig, sequence: int) -> float:
    """Of one sequence's training, MTP included: what the mathematics needs, nothing made again."""
    c = config
    layers = range(c.num_hidden_layers + c.num_nextn_predict_layers)
    tokens = sequence * (
        sum(layer_flops(c, i) for i in layers) + c.num_nextn_predict_layers * 4 * c.hidden_size**2
    )
    heads = sequence * (1 + c.num_nextn_predict_layers) * 2 * c.hidden_size * c.vocab_size
    return 3.0 * (tokens + heads + causal_pairs(sequence) * len(layers) * pair_flops(c))
