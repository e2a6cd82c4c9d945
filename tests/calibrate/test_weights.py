import pytest
import torch
from torch import Tensor, nn

from laconic.calibrate.weights import Rows, Weights


class Holder(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.randn(4))


@pytest.fixture
def model() -> Holder:
    return Holder(4, 6)


def test_views_say_which_output_channels_they_are(model: Holder) -> None:
    weights, w = Weights(model), model.w.detach()
    assert weights.rows(w.t()) == Rows("w", False, 0, 4)
    assert weights.rows(w) == Rows("w", True, 0, 6)
    assert weights.rows(w[1:3].t()) == Rows("w", False, 1, 3)
    assert weights.rows(w[:, 2:5]) == Rows("w", True, 2, 5)
    assert weights.rows(w[3:].t()) == Rows("w", False, 3, 4)


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w.flatten()[:4][:, None],
        lambda w: w.as_strided((6, 3), (1, 6), 1),
        lambda w: w[:, ::2],
        lambda w: w[::2].t(),
        lambda w: w[:, :3].t(),
        lambda w: w.reshape(6, 4),
        lambda w: w.clone(),
        lambda w: torch.zeros(4, 6),
    ],
    ids=[
        "across rows",
        "from inside a row",
        "every other",
        "every other row",
        "part of inputs",
        "folded",
        "copy",
        "other",
    ],
)
def test_what_is_not_a_run_of_whole_output_channels_is_not_recognised(model: Holder, view: object) -> None:
    assert callable(view)
    found: Tensor = view(model.w.detach())
    assert Weights(model).rows(found) is None


def test_a_parameter_in_its_own_shape_is_recognised_whatever_its_layout() -> None:
    model = Holder(4, 3, 2, 2)
    model.w.data = model.w.data.to(memory_format=torch.channels_last)
    assert Weights(model).whole(model.w.detach()) == "w"
    assert Weights(model).whole(model.w.detach().transpose(2, 3)) is None
    assert Weights(model).whole(model.w.detach()[1:]) is None


def test_only_floating_parameters_of_two_or_more_dimensions_count() -> None:
    model = Holder(4, 6)
    model.register_parameter("codes", nn.Parameter(torch.zeros(2, 2, dtype=torch.int64), requires_grad=False))
    assert Weights(model).shapes == {"w": (4, 6)}
