from dataclasses import replace

import pytest
import torch
from torch import nn

from laconic.calibrate import Layer
from laconic.core.apply import apply
from laconic.core.edit import Cut, Recode, RoundActivation, Slice, Swap
from laconic.core.plan import Plan
from laconic.core.spec import Identity, LowRank
from laconic.export.onnxruntime.layer import FLOAT, Form, LayerShape
from laconic.factorize import CanonicalPolyadic, Tucker2
from laconic.graph import capture
from laconic.prune import prune
from laconic.quantize import RoundToNearest
from laconic.select.layers_at_work import LayerAtWork, changed, layers_at_work


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.fc = nn.Linear(6, 16)
        self.out = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.depthwise(torch.relu(self.stem(x)))))
        return self.out(torch.relu(self.fc(x.mean((2, 3)))))


INPUTS = torch.randn(2, 3, 8, 10)


def found(model: nn.Module, batch_size: int = 1) -> dict[str, LayerAtWork]:
    return {one.parameter: one for one in layers_at_work(capture(model, (INPUTS,)), batch_size)}


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def test_every_layer_has_the_shape_of_its_call_for_any_batch_size(net: Net) -> None:
    layers = found(net, 5)
    square = {"kernel": (3, 3), "dilation": (1, 1)}
    assert layers["stem.weight"].shape == LayerShape(
        kind="conv", inputs=3, outputs=8, sizes=(5, 8, 10), stride=(2, 2), padding=(1, 1), **square
    )
    assert layers["depthwise.weight"].shape == LayerShape(
        kind="conv", inputs=8, outputs=8, sizes=(5, 4, 5), stride=(1, 1), padding=(1, 1), groups=8, **square
    )
    assert layers["up.weight"].shape.weight == (8, 6, 2, 2)
    assert layers["fc.weight"].shape == LayerShape(kind="linear", inputs=6, outputs=16, sizes=(5,))


def test_a_weight_written_the_other_way_round_is_read_so() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(10, 6)), nn.Parameter(torch.zeros(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(self.bias, x.flatten(0, 2), self.weight)

    layer = found(Turned())["weight"]
    assert layer.turned
    assert (layer.shape.inputs, layer.shape.outputs, layer.shape.sizes) == (10, 6, (24,))
    narrow = Cut(axis="a", slices=(Slice("weight", 0, torch.arange(4)),))
    assert changed([layer], [narrow])[0].shape.inputs == 4


def test_cut_layers_are_those_of_the_cut_model(net: Net) -> None:
    pruned = prune(net, INPUTS, ratio=0.5, scope="layer")
    predicted = {one.parameter: one.shape for one in changed(found(net).values(), pruned.plan)}
    assert predicted == {name: one.shape for name, one in found(pruned.model).items()}
    assert any(predicted[name] != one.shape for name, one in found(net).items())


@pytest.mark.parametrize("technique", [Tucker2(), CanonicalPolyadic()])
def test_the_chain_in_place_of_a_convolution_is_that_of_the_changed_model(
    net: Net, technique: Tucker2 | CanonicalPolyadic
) -> None:
    layer = Layer(parameter="stem.weight", kind="conv", shape=(8, 3, 3, 3))
    made = technique.decompose(net.stem, layer)
    assert made is not None
    plan = Plan.of([Swap("stem", made.spec(made.levels[0]))])
    predicted = {one.parameter: one.shape for one in changed(found(net).values(), plan)}
    assert predicted == {name: one.shape for name, one in found(apply(net, plan)).items()}


def test_a_low_rank_pair_takes_the_place_of_a_linear_layer_and_can_be_cut_and_coded(net: Net) -> None:
    pair = Swap("fc", LowRank(torch.randn(2, 6), torch.randn(16, 2)))
    cut = Cut(axis="out", slices=(Slice("fc.1.weight", 0, torch.arange(12)), Slice("out.weight", 1, torch.arange(12))))
    grid = RoundToNearest(bits=4).edit(torch.randn(12, 2), Layer(parameter="fc.1.weight", kind="linear", shape=(12, 2)))
    layers = {one.parameter: one for one in changed(found(net).values(), [pair, cut, grid])}
    assert [(s.inputs, s.outputs) for s in (layers[f"fc.{i}.weight"].shape for i in (0, 1))] == [(6, 2), (2, 12)]
    assert layers["fc.1.weight"].form == Form(weight="grid", bits=4)
    assert layers["fc.0.weight"].form == FLOAT
    assert layers["out.weight"].shape.inputs == 12


def test_what_is_left_out_is_no_layer_any_more(net: Net) -> None:
    left = changed(found(net).values(), [Swap("depthwise", Identity())])
    assert "depthwise.weight" not in {one.parameter for one in left}
    assert len(left) == 4


def test_rounding_is_known_at_both_ends(net: Net) -> None:
    def edit(module: str, side: str) -> RoundActivation:
        place = {"module": module, "side": side, "per": "tensor"}
        return RoundActivation.from_parts({**place, "bits": 8, "scale": 0.1, "zero_point": 0}, {})

    plan = [edit("stem", "input"), edit("depthwise", "input"), edit("up", "output")]
    forms = {one.parameter: one.form for one in changed(found(net).values(), plan)}
    ends = {name: (form.input_rounded, form.output_rounded) for name, form in forms.items()}
    assert ends == {
        "stem.weight": (True, True),  # all that reads it rounds what it reads
        "depthwise.weight": (True, False),
        "up.weight": (False, True),
        "fc.weight": (False, False),
        "out.weight": (False, False),
    }


def test_a_shared_module_is_changed_wherever_it_is_called() -> None:
    shared = nn.Linear(10, 10)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    layers = layers_at_work(capture(model, (INPUTS,)), 1)
    layer = Layer(parameter="0.weight", kind="linear", shape=(10, 10))
    recode = Recode("0.weight", RoundToNearest(bits=4).encode(shared.weight, layer))
    assert [one.form for one in changed(layers, [recode])] == [Form(weight="grid", bits=4)] * 2
    assert [replace(one, form=FLOAT) for one in changed(layers, [recode])] == list(layers)
