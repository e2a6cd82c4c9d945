"""Small weights, codings, edits and models that the tests of core share."""

import torch
from torch import Tensor, nn

from laconic.core.activation_grids import ActivationGrid
from laconic.core.blocks import Blocks
from laconic.core.codings import (
    AffineGrid,
    Codebook,
    Coding,
    Dense,
    Dictionary,
    Half,
    Hashed,
    LowRankSum,
    Sparse,
    ValueGrid,
    Zipped,
)
from laconic.core.edit import Cut, Recode, Rewrite, RoundActivation, Slice, Swap, Tie
from laconic.core.formats import BINARY, FP8_E4M3, NF4, Format
from laconic.core.layout import Layout
from laconic.core.plan import Plan
from laconic.core.program import Program
from laconic.core.spec import Identity, LowRank


def symmetric(weight: Tensor, bits: int = 4, axis: int | None = 0, group_size: int | None = None) -> AffineGrid:
    """A grid that reaches the largest weight of every block."""
    blocks = Blocks(shape=tuple(weight.shape), axis=axis, group_size=group_size)
    scale = blocks.split(weight.detach()).abs().amax(1).clamp(min=1e-3) / (2 ** (bits - 1) - 1)
    return AffineGrid.fit(weight, bits=bits, blocks=blocks, scale=scale, zero_point=None)


def asymmetric(weight: Tensor, bits: int = 4, axis: int | None = 0) -> AffineGrid:
    """A grid from the smallest weight to the largest, zero included."""
    blocks = Blocks(shape=tuple(weight.shape), axis=axis)
    rows = blocks.split(weight.detach())
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = (high - low).clamp(min=1e-3) / (2**bits - 1)
    return AffineGrid.fit(weight, bits=bits, blocks=blocks, scale=scale, zero_point=(-low / scale).round())


def sample_codings() -> dict[str, Coding]:
    """At least one coding of every kind in `codings.ALL`; who adds a kind adds its samples here."""
    weight = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    return {
        "symmetric per tensor": symmetric(weight, 8, None),
        "symmetric per channel": symmetric(weight, 4),
        "symmetric per inner channel": symmetric(weight, 3, 1),
        "symmetric per group, padded": symmetric(weight, 5, 0, 4),
        "asymmetric per channel": asymmetric(weight, 2),
        "asymmetric per tensor": asymmetric(weight, 7, None),
        "one element": symmetric(torch.tensor([[0.7]]), 4),
        "no dimension": symmetric(torch.tensor(-0.7), 4, None),
        "no element": empty(),
        "dense": Dense.of(weight),
        "nf4 per group, padded": values(weight, NF4, 4),
        "binary per channel": values(weight, BINARY),
        "eight-bit floats times powers of two": values(weight, FP8_E4M3, 4, powers=True),
        "values of one's own": values(weight, Format("mine", (-1.0, 0.1, 0.7))),
        "learned values": words(weight, words=4, length=1),
        "learned values, two rows a table": words(weight, words=3, length=1, rows=2, scaled=False),
        "words of four, padded": words(weight, words=16, length=4),
        "sums of three words": words(weight, words=5, length=2, stages=3),
        "half": Half.of(weight),
        **sparse_samples(weight),
        **shared_samples(weight),
        "entropy coded": Zipped.of(symmetric((weight * 2).round(), 4)),
        "entropy coded mask": Zipped.of(Sparse.of(weight, weight > 0.5, inner=Half.of(weight.round()))),
    }


def sparse_samples(weight: Tensor) -> dict[str, Coding]:
    """Masks of every format, around several codings."""
    large, few = weight.abs() > 0.6, torch.zeros_like(weight, dtype=torch.bool)
    few.flatten()[[3, 80]] = True
    pairs = torch.zeros(6, 15, dtype=torch.bool)
    pairs[:, [1, 2, 4, 7, 8, 9, 13, 14]] = True
    rows = torch.tensor([True, True, False, False, True, True])[:, None, None].expand_as(weight)
    return {
        "sparse by bitmap": Sparse.of(weight, large),
        "sparse by gaps": Sparse.of(weight, few, inner=Half.of(weight)),
        "sparse 2:4, padded": Sparse.of(weight, pairs.view(6, 5, 3), n_of_m=(2, 4)),
        "sparse in blocks, cut off": Sparse.of(weight, rows, block=(2, 4)),
        "mask, then grid": Sparse.of(weight, large, inner=symmetric(weight, 3, 0, 4)),
        "mask, then asymmetric grid": Sparse.of(weight, large, inner=asymmetric(weight, 8, None)),
        "mask, then learned values of inner channels": Sparse.of(
            weight, few, inner=words(weight, words=4, length=1, axis=1)
        ),
        "mask, then words": Sparse.of(weight, few, inner=words(weight, words=9, length=4)),
        "mask, then sums of words": Sparse.of(weight, large, inner=words(weight, words=5, length=2, stages=2)),
        "rank two plus a grid": low_rank_sum(weight, symmetric(weight, 3)),
        "rank two plus what is large": low_rank_sum(weight, Sparse.of(weight, large, inner=Half.of(weight))),
        "rank two plus words": low_rank_sum(weight, words(weight, words=5, length=2, stages=2)),
        "rank two plus all": low_rank_sum(weight, Dense.of(weight)),
        "all zero": Sparse.of(torch.zeros(2, 3)),
        "sparse without dimension": Sparse.of(torch.tensor(0.3)),
        "sparse without element": Sparse.of(torch.zeros(3, 0)),
    }


def shared_samples(weight: Tensor) -> dict[str, Coding]:
    """Numbers shared by hash, and combinations of atoms."""
    numbers = torch.linspace(-2, 3, 7)
    return {
        "hashed": Hashed(dims=(6, 5, 3), seed=0, values=numbers),
        "hashed, halves": Hashed(dims=(6, 5, 3), seed=2**32 - 1, values=numbers.half()),
        "hashed without dimension": Hashed(dims=(), seed=1, values=torch.tensor([0.3])),
        "hashed without element": Hashed(dims=(3, 0), seed=1, values=torch.tensor([0.3])),
        "two atoms of five": atoms(weight, 5, 3, 2),
        "three atoms of sixteen, padded, halves": atoms(weight, 16, 4, 3, torch.float16),
        "one atom without element": atoms(torch.zeros(3, 0), 2, 4, 1),
    }


def atoms(weight: Tensor, count: int, length: int, nonzeros: int, dtype: torch.dtype = torch.float32) -> Dictionary:
    """Combinations of random atoms."""
    generator, layout = torch.Generator().manual_seed(2), Layout.rows(tuple(weight.shape))
    vectors = layout.matrix[1] * -(-layout.matrix[2] // length)
    return Dictionary.of(
        layout=layout,
        atoms=torch.randn(count, length, generator=generator).to(dtype),
        amounts=torch.randn(vectors, nonzeros, generator=generator).to(dtype),
        codes=torch.randint(0, count, (vectors, nonzeros), generator=generator),
    )


def values(weight: Tensor, format_: Format, group_size: int | None = None, *, powers: bool = False) -> ValueGrid:
    """A format's values that reach the largest weight of every block, scales in half precision or as exponents."""
    blocks = Blocks(shape=tuple(weight.shape), axis=0, group_size=group_size)
    scale = blocks.split(weight).abs().amax(1).clamp(min=1e-3) / format_.values[-1]
    stored = (scale.log2().ceil() + 127).to(torch.uint8) if powers else scale.half()
    return ValueGrid.fit(weight, format=format_, blocks=blocks, scale=stored)


def words(
    weight: Tensor, *, words: int, length: int, stages: int = 1, rows: int = 6, scaled: bool = True, axis: int = 0
) -> Codebook:
    """A codebook of random words."""
    generator = torch.Generator().manual_seed(1)
    blocks = Blocks(shape=tuple(weight.shape), axis=axis, group_size=length)
    books = torch.randn(stages, -(-blocks.channels // rows), words, length, generator=generator).half()
    codes = torch.randint(0, words, (stages, blocks.count), generator=generator)
    scale = torch.linspace(0.5, 2, blocks.channels) if scaled else None
    return Codebook.of(vectors=blocks, rows=rows, books=books, scale=scale, codes=codes)


def low_rank_sum(weight: Tensor, rest: Coding) -> LowRankSum:
    """Random factors beside another coding."""
    generator, layout = torch.Generator().manual_seed(2), Layout.rows(tuple(weight.shape))
    _, rows, columns = layout.matrix
    left, right = torch.randn(1, rows, 2, generator=generator), torch.randn(1, 2, columns, generator=generator)
    return LowRankSum(layout=layout, left=left.half(), right=right.half(), rest=rest)


def empty() -> AffineGrid:
    """A grid for a weight without elements."""
    return AffineGrid.fit(
        torch.zeros(3, 0), bits=4, blocks=Blocks(shape=(3, 0), axis=0), scale=torch.ones(3), zero_point=None
    )


GRID = ActivationGrid(bits=8, scale=0.05, zero_point=120)


class Tied(nn.Module):
    """An embedding whose weight is also the output layer's, with a hidden layer, a norm and a module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, 6)
        self.again = self.hidden
        self.norm = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns `[n, 11]` from `[n]` tokens."""
        hidden = torch.relu(self.hidden(self.embed(tokens)))
        return self.out(self.norm(self.again(hidden)))


TOKENS = torch.arange(11)


def tied() -> Tied:
    """The model, with running statistics that are not the initial ones, in eval mode."""
    torch.manual_seed(1)
    model = Tied()
    model(TOKENS)
    return model.eval()


class Net(nn.Module):
    """Convolution, norm, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8, 10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[n, 4]` from `[n, 3, h, w]`."""
        pooled = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.fc2(torch.relu(self.fc1(pooled)))


def net() -> Net:
    """The model, with running statistics that are not the initial ones, in eval mode."""
    torch.manual_seed(2)
    model = Net()
    model(images())
    return model.eval()


def images() -> Tensor:
    """Four images for `Net`."""
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(3))


def cut_conv() -> Cut:
    """Three of `Net.conv`'s eight channels go."""
    keep = torch.tensor([0, 2, 3, 6, 7])
    outputs = ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    return Cut(
        axis="conv's channels",
        slices=(*(Slice(name, 0, keep) for name in outputs), Slice("fc1.weight", 1, keep)),
        attributes=(("conv", "out_channels", 5), ("norm", "num_features", 5), ("fc1", "in_features", 5)),
    )


def low_rank(linear: nn.Linear, rank: int) -> LowRank:
    """The best approximation of a linear layer by a product of that rank."""
    u, s, v = torch.linalg.svd(linear.weight.detach())
    return LowRank(s[:rank, None] * v[:rank], u[:, :rank])


def every_edit(model: Net) -> Plan:
    """A plan for `Net` with an edit of every kind."""
    return Plan.of(
        [
            cut_conv(),
            Tie("conv.bias", "norm.bias"),
            Swap("fc2", low_rank(model.fc2, 2)),
            Recode("fc1.bias", asymmetric(model.fc1.bias, 4, None)),
            Recode("fc2.0.weight", symmetric(low_rank(model.fc2, 2).first, 8)),
            RoundActivation("conv", "input", GRID),
            RoundActivation("fc1", "output", GRID),
            Swap("norm", Identity()),
            Rewrite(net_program()),
        ]
    )


def net_program() -> Program:
    """What `Net` computes, and a constant that it adds."""
    return Program(
        calls=(
            '["x","placeholder","x",[],{"items":[]}]',
            '["conv","call_module","conv",[{"node":"x"}],{"items":[]}]',
            '["norm","call_module","norm",[{"node":"conv"}],{"items":[]}]',
            '["relu","call_function","aten.relu.default",[{"node":"norm"}],{"items":[]}]',
            '["mean","call_function","aten.mean.dim",[{"node":"relu"},[2,3]],{"items":[]}]',
            '["fc1","call_module","fc1",[{"node":"mean"}],{"items":[]}]',
            '["relu_1","call_function","aten.relu.default",[{"node":"fc1"}],{"items":[]}]',
            '["fc2","call_module","fc2",[{"node":"relu_1"}],{"items":[]}]',
            '["more","get_attr","constant_0",[],{"items":[]}]',
            '["add","call_function","aten.add.Tensor",[{"node":"fc2"},{"node":"more"}],{"items":[]}]',
            '["output","output","output",[[{"node":"add"}]],{"items":[]}]',
        ),
        names=("x",),
        inputs=["tuple", None, [["tuple", None, [None]], ["dict", [], []]]],
        outputs=None,
        constants={"constant_0": torch.tensor([0.5, -1.0, 0.0, 2.0])},
    )
