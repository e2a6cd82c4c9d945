"""Every way of writing a linear map, against outputs that PyTorch itself computes from the same weight.

For any layer without bias the outputs satisfy `sum of y y^T = M A M^T` with `M` the layer's matrix and `A` the sum of
`x x^T`: so random weights with at least as many outputs as inputs prove matrix and second moment right together.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.calibrate import LayerEvidence
from laconic.calibrate.layer import Layer
from laconic.calibrate.parts import evidence_of
from laconic.calibrate.recorder import Recorder
from laconic.calibrate.weights import Weights


def record(model: nn.Module, *inputs: Tensor) -> tuple[dict[str, LayerEvidence], Tensor, Tensor]:
    """Evidence of one pass, the output, and a random gradient at it that was sent back."""
    recorder = Recorder(Weights(model))
    with recorder:
        output = model(*inputs)
    recorder.note_latest()
    error = torch.randn_like(output)
    recorder.backward(output, error)
    uses = evidence_of(recorder.sums, 1)
    return {use.layer.parameter: use for use in uses}, output.detach(), error


def sums_of_outer_products(rows: Tensor) -> Tensor:
    """`[groups, positions, outputs]` to `[groups, outputs, outputs]`."""
    return torch.einsum("gpo,gpq->goq", rows, rows)


CONVOLUTIONS = {
    "plain 1d": (nn.Conv1d(2, 8, 3), (2, 2, 9)),
    "plain 2d": (nn.Conv2d(2, 18, (3, 2)), (2, 2, 5, 6)),
    "plain 3d": (nn.Conv3d(1, 8, 2), (2, 1, 4, 3, 5)),
    "pointwise": (nn.Conv2d(3, 4, 1), (2, 3, 4, 4)),
    "strided": (nn.Conv2d(2, 18, 3, stride=(2, 3)), (2, 2, 8, 9)),
    "dilated": (nn.Conv2d(2, 18, 3, dilation=(2, 1)), (2, 2, 8, 7)),
    "padded": (nn.Conv2d(2, 18, 3, padding=(1, 2)), (2, 2, 5, 4)),
    "padded to the same size": (nn.Conv1d(2, 8, 3, padding="same", dilation=2), (2, 2, 9)),
    "padded in a circle": (nn.Conv1d(2, 8, 3, padding=1, padding_mode="circular"), (2, 2, 9)),
    "grouped": (nn.Conv2d(4, 36, 3, groups=2, padding=1), (2, 4, 5, 5)),
    "depthwise": (nn.Conv1d(3, 9, 3, groups=3), (2, 3, 8)),
    "all at once, 3d": (nn.Conv3d(2, 24, (2, 3, 2), 2, (1, 2, 0), (1, 2, 1), groups=2), (2, 2, 5, 6, 5)),
    "transposed 1d": (nn.ConvTranspose1d(2, 8, 3), (2, 2, 5)),
    "transposed 2d": (nn.ConvTranspose2d(1, 9, 3, stride=2, padding=1, output_padding=1), (2, 1, 4, 5)),
    "transposed 3d": (nn.ConvTranspose3d(1, 8, 2, stride=(1, 2, 3)), (2, 1, 3, 2, 3)),
    "transposed, grouped, dilated": (nn.ConvTranspose1d(4, 16, 3, 2, 1, 1, groups=2, dilation=2), (2, 4, 6)),
    "transposed, more padding than kernel": (nn.ConvTranspose1d(2, 4, 2, padding=3), (2, 2, 9)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_evidence_of_convolutions_explains_their_outputs(name: str) -> None:
    module, shape = CONVOLUTIONS[name]
    module = module.double()
    module.bias = None
    torch.nn.init.normal_(module.weight)
    found, output, error = record(module, torch.randn(shape, dtype=torch.float64))
    use = found["weight"]

    def rows(tensor: Tensor) -> Tensor:
        by_group = tensor.flatten(2).reshape(len(tensor), use.layer.groups, -1, tensor[0, 0].numel())
        return by_group.permute(1, 0, 3, 2).flatten(1, 2)

    matrix = use.layer.matrix(module.weight.detach())
    assert matrix.shape[1] >= matrix.shape[2] or "transposed" in name
    torch.testing.assert_close(matrix @ use.input_sum @ matrix.mT, sums_of_outer_products(rows(output)))
    torch.testing.assert_close(use.gradient_sum, sums_of_outer_products(rows(error)))
    assert use.positions.tolist() == [len(output) * output[0, 0].numel()] * module.groups


def test_patches_of_a_convolution_against_loops() -> None:
    module = nn.Conv2d(4, 2, (2, 3), stride=2, padding=1, dilation=(1, 2), groups=2, dtype=torch.float64)
    inputs = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    found, _, _ = record(module, inputs)
    wide = functional.pad(inputs, (1, 1, 1, 1))
    expected = torch.zeros(2, 12, 12, dtype=torch.float64)
    for sample in wide:
        for i in range(0, wide.shape[2] - 1, 2):
            for j in range(0, wide.shape[3] - 4, 2):
                for group in range(2):
                    patch = sample[2 * group : 2 * group + 2, i : i + 2, j : j + 5 : 2].flatten()
                    expected[group] += torch.outer(patch, patch)
    torch.testing.assert_close(found["weight"].input_sum, expected)


class Written(nn.Module):
    """A linear map of the last dimension, written in one's own words."""

    def __init__(self, shape: tuple[int, ...], act: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x, self.weight)


LINEAR = {
    "F.linear": ((5, 4), functional.linear),
    "x @ W": ((4, 5), lambda x, w: x @ w),
    "x @ W.T": ((5, 4), lambda x, w: x @ w.T),
    "square x @ W": ((4, 4), lambda x, w: x @ w),
    "square x @ W.T": ((4, 4), lambda x, w: x @ w.T),
    "W x": ((5, 4), lambda x, w: (w @ x.mT).mT),
    "addmm": ((4, 5), lambda x, w: torch.addmm(torch.ones(5).double(), x.flatten(0, 1), w).reshape(2, 3, 5)),
    "einsum": ((5, 4), lambda x, w: torch.einsum("bti,oi->bto", x, w)),
    "einsum, transposed": ((4, 5), lambda x, w: torch.einsum("bti,io->bto", x, w)),
    "tensordot": ((5, 4), lambda x, w: torch.tensordot(x, w, dims=([2], [1]))),
    "one output": ((1, 4), functional.linear),
    "of a transposed input": ((5, 4), lambda x, w: functional.linear(x.mT.contiguous().mT, w)),
    "row by row": ((5, 4), lambda x, w: torch.stack([torch.mv(w, row) for row in x.flatten(0, 1)]).reshape(2, 3, 5)),
    "broadcast bmm": ((4, 5), lambda x, w: torch.bmm(x, w.expand(2, 4, 5))),
}


@pytest.mark.parametrize("name", LINEAR)
def test_evidence_of_linear_maps_in_any_words(name: str) -> None:
    shape, act = LINEAR[name]
    model = Written(shape, act)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    found, output, error = record(model, x)
    use = found["weight"]
    outputs, inputs = use.layer.matrix(model.weight.detach())[0].shape
    assert (outputs, inputs) == (output.shape[2], 4)
    torch.testing.assert_close(
        functional.linear(x, use.layer.matrix(model.weight.detach())[0]), output - float("addmm" in name)
    )
    torch.testing.assert_close(use.input_sum, sums_of_outer_products(x.reshape(1, 6, 4)))
    torch.testing.assert_close(use.gradient_sum, sums_of_outer_products(error.reshape(1, 6, -1)))
    assert use.positions.tolist() == [6]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_stack_of_matrices_is_one_group_each(transposed: bool) -> None:
    model = Written((3, 4, 5) if transposed else (3, 5, 4), lambda x, w: torch.bmm(x, w if transposed else w.mT))
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    found, _, error = record(model, x)
    use = found["weight"]
    assert (use.layer.groups, use.layer.transposed) == (3, transposed)
    torch.testing.assert_close(use.input_sum, sums_of_outer_products(x))
    torch.testing.assert_close(use.gradient_sum, sums_of_outer_products(error))


def test_an_output_overwritten_in_place_keeps_its_own_gradient() -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(4, 5, dtype=torch.float64), nn.ReLU(inplace=True))
    found, output, error = record(model, x)
    expected = error * (output > 0)
    torch.testing.assert_close(found["0.weight"].gradient_sum, sums_of_outer_products(expected[None]))


def test_parts_with_inputs_of_their_own_become_groups() -> None:
    def act(x: Tensor, w: Tensor) -> Tensor:
        query, rest = w.split([2, 4])
        return torch.cat((functional.linear(x, query), functional.linear(2 * x[:, :1], rest).expand(-1, 3, -1)), -1)

    model = Written((6, 4), act)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    found, _, error = record(model, x)
    use = found["weight"]
    assert use.layer == Layer(parameter="weight", kind="linear", shape=(6, 4), groups=3)
    own, other = (sums_of_outer_products(v.reshape(1, -1, 4))[0] for v in (x, 2 * x[:, :1]))
    torch.testing.assert_close(use.input_sum, torch.stack((own, other, other)))
    at_rest = error[..., 2:].sum(1)
    gradients = [error[..., :2].reshape(-1, 2), at_rest[:, :2], at_rest[:, 2:]]
    torch.testing.assert_close(use.gradient_sum, torch.stack([sums_of_outer_products(g[None])[0] for g in gradients]))
    assert use.positions.tolist() == [6, 2, 2]


def test_a_weight_that_is_used_in_part_only_has_no_evidence() -> None:
    found, _, _ = record(Written((6, 4), lambda x, w: functional.linear(x, w[:3])), torch.randn(2, 4).double())
    assert found == {}


def test_a_view_across_rows_and_columns_is_not_recognised() -> None:
    model = Written((4, 6), lambda x, w: functional.linear(x, w.flatten()[:4][None]))
    assert record(model, torch.randn(2, 4).double())[0] == {}


def test_a_copy_of_a_weight_is_not_recognised() -> None:
    found, _, _ = record(Written((6, 4), lambda x, w: functional.linear(x, 1 * w)), torch.randn(2, 4).double())
    assert found == {}


def test_an_embedding_counts_its_rows() -> None:
    model = nn.Embedding(5, 3, dtype=torch.float64)
    rows = torch.tensor([[0, 3, 3], [4, 3, 0]])
    found, _, error = record(model, rows)
    use = found["weight"]
    assert use.input_sum.tolist() == [[2, 0, 0, 3, 1]]
    torch.testing.assert_close(use.gradient_sum, sums_of_outer_products(error.reshape(1, 6, 3)))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_a_bag_of_embeddings_is_a_linear_map_of_how_often_rows_are_in_it(mode: str) -> None:
    model = nn.EmbeddingBag(5, 3, mode=mode, padding_idx=1, dtype=torch.float64)
    bags = torch.tensor([[0, 3, 3, 1], [4, 2, 0, 1]])
    found, _, error = record(model, bags)
    use = found["weight"]
    counts = torch.tensor([[1, 0, 0, 2, 0], [1, 0, 1, 0, 1]]).double() / (3 if mode == "mean" else 1)
    torch.testing.assert_close(use.input_sum, counts.square().sum(0, keepdim=True))
    torch.testing.assert_close(use.gradient_sum, sums_of_outer_products(error[None]))


def test_the_largest_of_a_bag_is_no_linear_map() -> None:
    assert record(nn.EmbeddingBag(5, 3, mode="max"), torch.tensor([[0, 3]]))[0] == {}


@pytest.mark.parametrize("same", [True, False])
def test_attention_is_seen_through(same: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x if same else x + 1, x if same else x - 1, need_weights=False)[0]

    x = torch.randn(2, 3, 4, dtype=torch.float64)
    found, _, error = record(Attention(), x)
    projection, out = found["attention.in_proj_weight"], found["attention.out_proj.weight"]
    inputs = torch.stack([x.flatten(0, 1)] if same else [v.flatten(0, 1) for v in (x, x + 1, x - 1)])
    torch.testing.assert_close(projection.input_sum, sums_of_outer_products(inputs))
    assert projection.gradient_sum.shape == ((1, 12, 12) if same else (3, 4, 4))
    torch.testing.assert_close(out.gradient_sum, sums_of_outer_products(error.reshape(1, 6, 4)))


@pytest.mark.parametrize("calls", [1, 3])
def test_a_module_called_several_times_sums_its_calls(calls: int) -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = self.other = nn.Linear(4, 4, bias=False, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(calls):
                x = self.other(x)
            return x

    model = Repeated()
    x = torch.randn(5, 4, dtype=torch.float64)
    found, _, error = record(model, x)
    weight = model.one.weight.detach()
    inputs, gradients = [x], [error]
    for _ in range(calls - 1):
        inputs.append(inputs[-1] @ weight.T)
        gradients.append(gradients[-1] @ weight)
    torch.testing.assert_close(found["one.weight"].input_sum, sums_of_outer_products(torch.cat(inputs)[None]))
    torch.testing.assert_close(found["one.weight"].gradient_sum, sums_of_outer_products(torch.cat(gradients)[None]))
    assert found["one.weight"].positions.tolist() == [5 * calls]


def test_weights_that_share_a_memory_are_told_apart() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            memory = torch.randn(32)
            self.first = nn.Parameter(memory[:16].reshape(4, 4))
            self.second = nn.Parameter(memory[16:].reshape(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(functional.linear(x, self.first), self.second)

    model, x = Packed(), torch.randn(2, 4)
    found, _, _ = record(model, x)
    for name, inputs in {"first": x, "second": functional.linear(x, model.first.detach())}.items():
        torch.testing.assert_close(
            found[name].input_sum, sums_of_outer_products(inputs.double()[None]), rtol=1e-5, atol=1e-5
        )
