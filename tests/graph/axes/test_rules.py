import torch
from torch import nn
from torch.nn import functional

from laconic.graph import capture, costs
from laconic.graph.axes import axes
from laconic.graph.axes.rules import RULES


class Between(nn.Module):
    """A layer, an operator, a layer."""

    def __init__(self, operator, width=6, out=None):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.operator = operator
        self.second = nn.Linear(out or width, 2)

    def forward(self, x):
        return self.second(self.operator(self.first(x)))


def analysed(operator, **sizes):
    return axes(capture(Between(operator, **sizes), (torch.randn(3, 5, 4),)))


def reasons(found, tensor, dim):
    return next(f.operators for f in found.frozen if (f.tensor, f.dim) == (tensor, dim))


def test_operator_without_a_rule_freezes_what_goes_in_and_names_itself():
    assert "linalg_qr" not in RULES
    found = analysed(lambda x: torch.linalg.qr(x)[1], width=5)
    assert len(found) == 0
    assert reasons(found, "first.weight", 0) == ("aten.linalg_qr.default",)
    assert reasons(found, "second.weight", 1) == ("aten.linalg_qr.default",)


def test_order_of_a_dimension_that_matters_freezes_it():
    for operator in (lambda x: x.flip(-1), lambda x: x.roll(1, -1), lambda x: x.cumprod(-1), lambda x: x.sort(-1)[0]):
        assert len(analysed(operator)) == 0


def test_space_may_be_rolled_and_flipped():
    assert [a.size for a in analysed(lambda x: x.flip(1).roll(2, 1))] == [6]


def test_softmax_and_means_freeze_nothing_and_are_noted():
    (axis,) = analysed(lambda x: x.softmax(-1) * x.mean(-1, keepdim=True))
    assert axis.statistics == ("aten.softmax.int", "aten.mean.dim")


def test_index_by_a_constant_tensor_freezes_only_what_is_indexed():
    order = torch.tensor([4, 0, 1, 3, 2])
    assert [a.size for a in analysed(lambda x: x[:, order])] == [6]
    (after,) = analysed(lambda x: x[:, :, torch.tensor([1, 0, 2, 3, 5, 4])])
    assert [(s.tensor, s.dim) for s in after.slices] == [("second.weight", 1)]


def test_scatter_and_gather_over_space_let_channels_pass():
    place = torch.tensor([0, 2, 1, 4, 3])[None, :, None]
    gathered = analysed(lambda x: x.gather(1, place.expand(x.shape[0], -1, x.shape[2])))
    scattered = analysed(lambda x: torch.zeros_like(x).scatter_add(1, place.expand(x.shape[0], -1, 6), x))
    assert [a.size for a in gathered] == [a.size for a in scattered] == [6]


def test_einsum_with_a_diagonal_is_frozen_not_guessed():
    assert len(analysed(lambda x: torch.einsum("...ii->...i", x[..., None] * x[..., None, :]))) == 0


def test_dimensions_under_an_ellipsis_are_counted_from_the_right():
    (axis,) = analysed(lambda x: torch.einsum("...i,i->...i", x, torch.ones(6)))
    assert [(s.tensor, s.dim) for s in axis.slices][-1] == ("second.weight", 1)
    found = analysed(lambda x: torch.einsum("b...i,...j->b...i", x, torch.ones(5, 2)))
    assert [a.size for a in found] == [6]


def test_as_many_groups_as_samples_let_the_channels_of_each_pass():
    class PerSample(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.mix, self.second = nn.Conv2d(3, 6, 1), nn.Linear(6, 4), nn.Conv2d(8, 2, 1)
            self.kernels = nn.Parameter(torch.randn(4, 8, 6, 3, 3))

        def forward(self, x):
            y = self.first(x)
            kernels = torch.einsum("bk,koihw->boihw", self.mix(y.mean((2, 3))), self.kernels).flatten(0, 1)
            y = functional.conv2d(y.reshape(1, -1, 4, 4), kernels, padding=1, groups=len(x))
            return self.second(y.view(len(x), -1, 4, 4))

    found = axes(capture(PerSample(), (torch.randn(2, 3, 4, 4),)))
    assert sorted(a.size for a in found) == [4, 6, 8]


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 32), nn.Linear(16, 2)
        self.experts = nn.Parameter(torch.randn(4, 32, 16))
        self.register_buffer("ends", torch.tensor([2, 4, 6, 8], dtype=torch.int32))

    def forward(self, x):
        return self.second(torch._grouped_mm(self.first(x), self.experts, offs=self.ends))


def test_experts_pass_their_width_and_keep_their_number():
    graph = capture(Experts().bfloat16(), (torch.randn(8, 4).bfloat16(),), dynamic_batch=False)
    assert costs(graph).macs_by_parameter["experts"] == 32 * 16
    found = axes(graph)
    assert sorted(a.size for a in found) == [16, 32]
    assert reasons(found, "experts", 0) == ("aten._grouped_mm.default",)


def test_normalised_weight_whose_statistics_run_over_its_columns_notes_them():
    class Standardised(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x):
            plain = self.second.weight.reshape(1, 2, -1)
            weight = functional.batch_norm(plain, None, None, training=True).reshape_as(self.second.weight)
            return functional.conv2d(self.first(x), weight)

    (axis,) = axes(Standardised(), (torch.randn(2, 3, 4, 4),))
    assert axis.statistics == ("aten.batch_norm.default",)


def test_input_and_output_are_frozen_by_name():
    found = axes(capture(nn.Linear(4, 2), (torch.randn(3, 4),)))
    assert reasons(found, "weight", 1) == ("the model's input",)
    assert reasons(found, "weight", 0) == ("the model's output",)


def test_unused_parameter_is_no_axis():
    model = Between(functional.relu)
    model.spare = nn.Linear(5, 5)
    found = axes(capture(model, (torch.randn(3, 5, 4),)))
    assert [a.name for a in found] == ["first.weight[0]"]
    assert reasons(found, "spare.weight", 1) == ("being unused",)


def test_prelu_with_one_slope_leaves_it_alone():
    (axis,) = analysed(nn.PReLU())
    assert [s.tensor for s in axis.slices] == ["first.weight", "first.bias", "second.weight"]


def test_fixed_batch_gives_the_same_axes():
    model = Between(functional.relu)
    graph = capture(model, (torch.randn(3, 5, 4),), dynamic_batch=False)
    assert [a.name for a in axes(graph)] == ["first.weight[0]"]
