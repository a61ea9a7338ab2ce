"""Bytes of each memory owner, one formula per function. No torch here.

Each docstring says what is counted; `memory` combines them. `Load` describes one lane's work. The
temporary bytes of the half-precision and 4-bit decoder on a GPU are in `formulas_gpu`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from grpolab.estimate.model_shape import ModelShape

MIB = 2**20

TILE_BYTES = 192 * MIB
"""Approximate bytes of one tile of fp32 logits in the loss at large vocabularies."""

PRODUCT = 128
"""A GPU's product computes rows in multiples of this: 384 for 331."""

KEPT_BYTES = 512 * MIB
"""On a CPU, a larger model is folded anew for each product instead of kept a second time."""

LARGE_VOCABULARY = 1024
"""For larger vocabularies the loss is computed in tiles."""

ROTARY = 32768
"""Rotary tables are made for at most this many positions."""

NF4_TABLES = 4 * (16 + 256 + 1)
"""Bytes of tables per quantized linear, fp32: the 4-bit values, the scales' values, and their mean.
"""

CPU_MICROBATCH = 32
"""Rows of one forward and backward on a CPU with `train.microbatch: auto`."""

FRUGAL_TOKENS = 2048
"""Tokens of a GPU's microbatch with `model.copy_weights: never`."""

CHUNK = 32
"""Rows that one CPU thread samples or scores together."""

READ = 1024
"""Prompt tokens that one CPU thread reads at once: more is not faster, and scratch memory grows
with it."""


@dataclass(frozen=True)
class Load:
    """One lane's work on one device. N rows in K groups."""

    cuda: bool
    native: bool  # our own decoder; else transformers and PEFT
    quantize: str
    copy: bool  # on a GPU: a bf16 copy of the dequantized backbone
    rank: int
    targets: Collection[str] | None  # linears with an adapter; None: all
    groups: int  # K
    rows: int  # N
    prompt: int  # P, tokens of the longest
    answer: int  # T, tokens
    microbatch: int  # rows
    threads: int
    learned_in: int  # bytes per element in the products of training, on a CPU
    critic: str | None  # adapter, full, or none
    remembers: int  # frozen copies of the adapter
    minibatches: int = 1  # of one rollout
    never_copies: bool = False  # on a GPU: activations recomputed, caches freed after sampling
    evaluated: int = 0  # held-out prompts of one evaluation
    mean_prompt: int = 0  # tokens, where it differs from the longest
    panel: int = 1  # on a CPU: outputs per panel of the sampler's weights
    chunk: int = CHUNK  # rows that one CPU thread samples or scores together

    @property
    def half(self) -> bool:
        """Our own decoder with the adapter apart from frozen weights: on a GPU, and for 4 bit."""
        return self.native and (self.cuda or self.quantize == "nf4")

    @property
    def width(self) -> int:
        """Bytes of one number in the forward."""
        return 2 if self.cuda else 4

    @property
    def at_once(self) -> int:
        """Microbatches or chunks that are computed at the same time."""
        return self.threads if self.native and not self.half else 1

    @property
    def micro_rows(self) -> int:
        """Rows of all microbatches that are computed at the same time."""
        return min(self.rows, self.microbatch * self.at_once)

    @property
    def chunk_rows(self) -> int:
        """Rows that are sampled or scored at a time."""
        return (
            self.rows if self.cuda or not self.native else min(self.rows, self.chunk * self.at_once)
        )


# --- lasting ---


def backbone(m: ModelShape, load: Load) -> int:
    """The weights as loaded: fp32 on a CPU, bf16 on a GPU, there with room for the adapter; NF4
    double-quantized: 4 bit, one byte of scale for each 64, four more bytes for each 256 of those,
    and a table for each linear; int8: a byte and a scale for each output. Embeddings, norms and
    head are never quantized. And the rotary tables, by half a head on a GPU."""
    linears = m.in_linears * load.width
    if load.quantize == "nf4":
        linears = m.in_linears // 2 + m.in_linears // 64 + m.in_linears // (64 * 256) * 4
        linears += m.layers * len(m.linears) * NF4_TABLES
    elif load.quantize == "int8":
        linears = m.in_linears + 4 * m.layers * sum(o for _, o in m.linears.values())
    elif load.half:
        linears += m.layers * (sum(roomy(m, load)) - sum(alone(m, load))) * load.width
    rotary = 0
    if load.native:
        rotary = 2 * m.longest * m.head_dim * 4
    if load.half:
        rotary = min(m.longest, ROTARY) * m.head_dim * 4
    return linears + m.elsewhere * load.width + rotary


def stacked(m: ModelShape, load: Load) -> list[tuple[int, int, int]]:
    """One layer's groups of linears on one input, as a GPU has them: inputs, outputs of all, and
    the columns that their adapters' ranks take, rounded up to 64."""
    out = []
    for names in m.groups:
        ranks = load.rank * len(adapted(names, load))
        outputs = sum(m.linears[n][1] for n in names)
        out.append((m.linears[names[0]][0], outputs, -(-ranks // 64) * 64))
    return out


def alone(m: ModelShape, load: Load) -> list[int]:
    """Numbers in the weights of each of these groups."""
    return [i * o for i, o, _ in stacked(m, load)]


def roomy(m: ModelShape, load: Load) -> list[int]:
    """The same with room for the adapter's B at their side and, where there are fewer outputs than
    inputs, for its A under them."""
    return [(o + room * (o < i)) * (i + room) for i, o, room in stacked(m, load)]


def backbone_copy(m: ModelShape, load: Load) -> int:
    """What products multiply by.

    CPU: every stacked group, adapters and norms folded in, as the sampler lays it out, in fp32 and
    whole panels; and unless the model is large, as the update has it (in fp32 where there is
    something to fold), once more for a critic's adapter, and with the norms for the reference. And
    the sampler's head. GPU and 4 bit: every group with room for its adapter in bf16, or, without a
    copy, one scratch as large as the largest group.
    """
    if not load.native or (load.half and load.quantize == "none"):
        return 0  # the weights themselves are the copy
    if load.half and not load.copy:
        return max(alone(m, load)) * load.width
    if load.half:
        return m.layers * sum(roomy(m, load)) * load.width
    sizes, kept = [], 4 * m.parameters <= KEPT_BYTES
    for names, (i, o, room) in zip(m.groups, stacked(m, load), strict=True):
        normed = len(names) > 1  # those stacked stand behind a norm
        own, bare = (1, 1) if load.learned_in == 2 else (room > 0 or normed, normed)
        folds = own * (1 + (load.critic == "adapter")) + bare  # policy, critic, reference
        sizes.append(i * (4 * in_panels(o, load) + o * kept * folds * load.learned_in))
    head = 4 * in_panels(m.vocabulary, load) * m.hidden
    return m.layers * sum(sizes) + head


def in_panels(outputs: int, load: Load) -> int:
    """Outputs, those of the last panel twice that the one before it has."""
    return -(-outputs // load.panel) * load.panel


def adapted(names: Collection[str], load: Load) -> list[str]:
    """The linears among `names` that have an adapter."""
    return [n for n in names if load.targets is None or n in load.targets]


def adapter_parameters(m: ModelShape, load: Load) -> int:
    """A [r, in] and B [out, r] of every adapted linear."""
    return m.layers * load.rank * sum(sum(m.linears[n]) for n in adapted(m.linears, load))


def adapters(m: ModelShape, load: Load) -> int:
    """The policy's A and B, fp32."""
    return 4 * adapter_parameters(m, load)


def placed(m: ModelShape, load: Load) -> int:
    """The adapter that a GPU computes with, one for all lanes, in the precision of the weights: A
    and B where they have no room with these."""
    if not load.half:
        return 0
    no_copy = load.quantize == "nf4" and not load.copy
    sizes = (
        room * (i * (no_copy or o >= i) + o * no_copy) for i, o, room in stacked(m, load)
    )  # fmt: skip
    return m.layers * sum(sizes) * load.width


def critic_parameters(m: ModelShape, load: Load) -> int:
    """A second adapter, or a whole second model without its head, and the value head."""
    if load.critic is None:
        return 0
    if load.critic == "adapter":
        return adapter_parameters(m, load) + m.hidden + 1
    return m.parameters - (0 if m.tied else m.vocabulary * m.hidden) + m.hidden + 1


def critic(m: ModelShape, load: Load) -> int:
    """The critic's trainable tensors, fp32."""
    return 4 * critic_parameters(m, load)


def reference(m: ModelShape, load: Load) -> int:
    """Frozen copies of the policy's adapter."""
    return load.remembers * adapters(m, load)


def trainable(m: ModelShape, load: Load) -> int:
    """Trainable parameters."""
    return adapter_parameters(m, load) + critic_parameters(m, load)


def optimizer(m: ModelShape, load: Load) -> int:
    """AdamW's two moments, fp32."""
    return 2 * 4 * trainable(m, load)


# --- temporary ---


def gradients(m: ModelShape, load: Load) -> int:
    """fp32 gradients of trainable tensors: one set, and in parallel threads half a set more per
    thread, as not all are at the end of their backward at once."""
    return 4 * trainable(m, load) * (1 + load.at_once) // 2


def kv_cache(m: ModelShape, load: Load) -> int:
    """Keys and values of every layer. Own decoders: prompts once for each group, [K, kv, P, D], and
    answers, [N, kv, T, D], on a CPU of the rows sampled at a time. Transformers: [rows, kv, P + T,
    D]."""
    one = 2 * m.layers * m.kv_heads * m.head_dim * load.width
    if load.half:
        padded = -(-load.prompt // 64) * 64
        return one * ((load.groups + 1) * padded + (load.rows + 1) * load.answer)
    groups = load.chunk_rows
    if load.native:
        groups = min(load.groups, -(-load.chunk_rows * load.groups // load.rows))
    return one * (groups * load.prompt + load.chunk_rows * load.answer)


def tokens(load: Load, rows: int) -> int:
    """Tokens in the forward of `rows` rows: padded and with its prompt in every row under
    transformers, else each prompt once for the rows of its group, and answers but their last
    token."""
    if not load.native:
        return rows * (load.prompt + load.answer - 1)
    groups = min(load.groups, -(-rows * load.groups // load.rows))
    return groups * (load.mean_prompt or load.prompt) + rows * (load.answer - 1)


def activations(m: ModelShape, load: Load) -> int:
    """What the backward of the microbatches in the works needs, for each token and layer. Own
    decoder on a CPU: the fp32 stream before attention and MLP, and queries and keys as turned; in
    the products' type the two norms, what is projected, what is attended, gate and up and their
    product. Transformers: the stream and its norms, what is projected, rotated and attended, gate
    and up, the gate's silu and their product, and keys and values for prompt and answer of every
    row. With a critic twice."""
    rows, q, kv = load.micro_rows, m.heads * m.head_dim, m.kv_heads * m.head_dim
    if load.native:
        exact = 4 * (2 * m.hidden + q + kv)
        flat = exact + load.learned_in * (2 * m.hidden + 2 * q + 2 * kv + 3 * m.inner)
        return m.layers * tokens(load, rows) * flat * (2 if load.critic else 1)
    inner = (4 if m.gated else 2) * m.inner
    flat = tokens(load, rows) * (4 * m.hidden + 5 * q + 3 * kv + inner)
    keys = rows * (load.prompt + load.answer) * 2 * kv
    return m.layers * (flat + keys) * load.width * (2 if load.critic else 1)


def ahead(load: Load, activations: int) -> int:
    """The part of an update's activations that is there from scoring on: the critic's, where all
    rows are computed at once."""
    if not load.critic or load.minibatches > 1 or load.micro_rows < load.rows:
        return 0
    return activations // 2


def tile_rows(vocabulary: int, cuda: bool) -> int:
    """Tokens of one tile of logits: on a GPU whole products, where there are enough."""
    count = max(16, TILE_BYTES // (4 * vocabulary))
    return -(-count // PRODUCT) * PRODUCT if cuda and count >= PRODUCT else count


def loss_tiles(m: ModelShape, load: Load) -> int:
    """fp32 over the vocabulary: three of a tile of tokens, or three of all answer tokens of the
    microbatches in the works where the vocabulary is small."""
    count = load.micro_rows * load.answer
    if m.vocabulary > LARGE_VOCABULARY:
        rows = tile_rows(m.vocabulary, load.cuda)
        slope = 6 if load.half else 12  # logits and their gradient, with temporaries if not fused
        return slope * min(count, rows * load.at_once) * m.vocabulary
    return 3 * 4 * count * m.vocabulary


def sampling_tiles(m: ModelShape, load: Load) -> int:
    """Logits, log-probs, noise and their sum for one token of every row, fp32; in the CPU's own
    loop logits and probabilities."""
    return 4 * (2 if load.native else 4) * load.chunk_rows * m.vocabulary


def sampling_workspace(m: ModelShape, load: Load) -> int:
    """In the CPU's own loop, for every token that goes through the layers at once: the stream
    twice, what is projected and attended, gate and up, and their product."""
    if not load.native:
        return 0
    rows = -(-load.chunk_rows // load.at_once)
    prompts = -(-rows * load.groups // load.rows)
    at_once = max(rows, min(READ, prompts * load.prompt))
    q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return load.at_once * at_once * (3 * m.hidden + 2 * q + 2 * kv + 3 * m.inner) * 4


def update_bytes(m: ModelShape, load: Load) -> int:
    """Bytes of everything temporary in an update."""
    parts = (gradients, activations, loss_tiles, update_workspace)
    return sum(part(m, load) for part in parts)


def update_workspace(m: ModelShape, load: Load) -> int:
    """Temporaries of one layer's backward: three as wide as the MLP for every token, and twice its
    largest weights with the adapter folded in."""
    largest = max(sum(m.linears[n][0] * m.linears[n][1] for n in g) for g in m.groups)
    weights = 2 * largest * load.width * load.at_once
    return 3 * tokens(load, load.micro_rows) * m.inner * load.width + weights


def score_workspace(m: ModelShape, load: Load) -> int:
    """Temporaries of a forward that keeps nothing: the MLP's four, the stream's three."""
    width = (4 if m.gated else 2) * m.inner + 3 * m.hidden
    return tokens(load, load.chunk_rows) * width * load.width


def step_workspace(m: ModelShape, load: Load) -> int:
    """The optimizer's denominator: one more copy of the trainable tensors."""
    return 4 * trainable(m, load)


def outside(load: Load) -> int:
    """Non-model memory, as measured: on a CPU the interpreter and libraries; on a GPU the CUDA
    context."""
    if load.cuda:
        return 820 * MIB
    return 345 * MIB if load.native else 510 * MIB


def fragmentation(m: ModelShape, load: Load, passing: int) -> int:
    """Bytes that the allocator keeps free at the peak, as a measured share of temporary ones."""
    return round(passing * (0.08 if load.cuda else 0.25))
