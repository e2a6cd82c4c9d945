import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from laconic.calibrate import Layer
from laconic.core.edit import Cut, Edit, Recode, RoundActivation, Slice, Swap
from laconic.core.plan import Plan
from laconic.core.spec import Identity, LowRank
from laconic.core.task import Task
from laconic.export.onnxruntime.latency_table import Entry, LatencyTable, Machine
from laconic.export.onnxruntime.layer_times import Times
from laconic.graph import capture
from laconic.quantize import RoundToNearest, RoundToValues
from laconic.select import price
from laconic.select.latency import LatencyModel, Prediction, latency_model
from laconic.select.layers_at_work import layers_at_work
from laconic.select.milliseconds import milliseconds

MACHINE = Machine(runtime="onnxruntime", version="1", cpu="a", threads=1)
OTHER, OPERATOR = 300.0, 1.0
MOVE = 0.75
WHOLE_MOVES = 2 * MOVE  # channels before the first convolution and behind the second


def per_mac(graphs: Mapping[Entry, bytes], threads: int, yardstick_us: float) -> dict[Entry, Times]:
    """A machine on which a multiplication takes a nanosecond, half of it between integers, and rounding 7 or 5 us."""
    found = {}
    for shape, form in graphs:
        us = math.prod(shape.weight) * math.prod(shape.sizes) / 1e3 * (0.5 if form.weight == "grid" else 1.0)
        found[shape, form] = Times(
            inside_us=us,
            low_us=us,
            high_us=us,
            before_us=7.0 if form.input_rounded else 0.0,
            after_us=5.0 if form.output_rounded else 0.0,
            moving_us=2 * MOVE if shape.kind == "conv" else 0.0,
            operators=1,
        )
    return found


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU(), nn.Linear(32, 8)).eval()


INPUTS = torch.randn(4, 3, 6, 6)
MACS = {"0.weight": 8 * 27 * 36, "2.weight": 16 * 72 * 36, "5.weight": 576 * 32, "7.weight": 256}
LAYERS = sum(MACS.values()) / 1e3


def fake_table() -> LatencyTable:
    return LatencyTable(machine=MACHINE, yardstick_us=100.0, operator_us=OPERATOR, timer=per_mac)


def model_of(net: nn.Module, pace: float = 1.0) -> LatencyModel:
    layers = layers_at_work(capture(net, (INPUTS,)), 1)
    return LatencyModel(
        layers=layers, table=fake_table(), original_us=LAYERS + OTHER + WHOLE_MOVES, fixed_us=100.0, pace=pace
    )


def recode(net: nn.Sequential, name: str, technique: RoundToNearest | RoundToValues) -> Edit:
    weight = net.get_parameter(name)
    kind = "conv" if weight.dim() > 2 else "linear"
    return Recode(name, technique.encode(weight, Layer(parameter=name, kind=kind, shape=tuple(weight.shape))))


def rounding(module: str, side: str = "input") -> Edit:
    place = {"module": module, "side": side, "per": "tensor"}
    return RoundActivation.from_parts({**place, "bits": 8, "scale": 0.1, "zero_point": 0}, {})


def us(model: LatencyModel, *edits: Edit) -> float:
    return model.predict(Plan(edits)).milliseconds * 1e3


def test_the_original_takes_what_was_measured(net: nn.Sequential) -> None:
    found = model_of(net, pace=2.0).predict(Plan())
    assert found.milliseconds == pytest.approx(2 * (LAYERS + OTHER + WHOLE_MOVES) / 1e3)
    assert found.ratio == pytest.approx(1)
    moved = {name: macs + 1e3 * MOVE * (name in ("0.weight", "2.weight")) for name, macs in MACS.items()}
    assert {name: ms * 1e6 / 2 for name, ms in found.by_layer.items()} == pytest.approx(moved)
    assert found.other * 1e3 == pytest.approx(2 * OTHER)


@pytest.mark.parametrize(
    "technique", [RoundToNearest(bits=8), RoundToNearest(bits=3), RoundToNearest(per=9), RoundToValues()]
)
def test_weights_alone_in_few_bits_save_no_time(net: nn.Sequential, technique: RoundToNearest | RoundToValues) -> None:
    model = model_of(net)
    assert us(model, recode(net, "2.weight", technique)) == us(model)


def test_a_low_rank_pair_takes_its_own_multiplications_and_one_more_operator(net: nn.Sequential) -> None:
    pair = Swap("5", LowRank(torch.randn(4, 576), torch.randn(32, 4)))
    assert us(model_of(net), pair) == pytest.approx(
        LAYERS + OTHER + WHOLE_MOVES - MACS["5.weight"] / 1e3 + 4 * (576 + 32) / 1e3 + OPERATOR
    )


def test_fewer_channels_save_in_both_layers_and_in_what_lies_between(net: nn.Sequential) -> None:
    cut = Cut(
        axis="channels",
        slices=(Slice("0.weight", 0, torch.arange(4)), Slice("2.weight", 1, torch.arange(4))),
    )
    layers = LAYERS - (MACS["0.weight"] + MACS["2.weight"]) / 2e3
    numbers = (4 * 36 + 16 * 36 + 32 + 8) / (8 * 36 + 16 * 36 + 32 + 8)
    assert us(model_of(net), cut) == pytest.approx(layers + WHOLE_MOVES + 100 + 200 * numbers)


def test_a_layer_left_out_takes_its_share_of_the_rest_with_it(net: nn.Sequential) -> None:
    gone = us(model_of(net), Swap("7", Identity()))
    numbers = (8 * 36 + 16 * 36 + 32) / (8 * 36 + 16 * 36 + 32 + 8)
    assert gone == pytest.approx(LAYERS + WHOLE_MOVES - MACS["7.weight"] / 1e3 + 100 * 3 / 4 + 200 * numbers)


def test_integer_kernels_want_rounded_weights_inputs_and_outputs(net: nn.Sequential) -> None:
    model, first, second = model_of(net), "0.weight", "2.weight"
    weights = [recode(net, name, RoundToNearest()) for name in (first, second)]
    # The first convolution's output is rounded by its reader, which then reads floats; the second one's by nobody.
    both = us(model, *weights, rounding("0"), rounding("2"))
    assert both == pytest.approx(LAYERS + OTHER - MACS[first] / 2e3 + 7 + 5 + 4 * MOVE)
    # With it, codes pass from one to the other, and are floats again only behind the second.
    whole = us(model, *weights, rounding("0"), rounding("2"), rounding("2", "output"))
    assert whole == pytest.approx(LAYERS + OTHER - (MACS[first] + MACS[second]) / 2e3 + 7 + 5)


def test_rounding_what_no_integer_kernel_reads_costs_time(net: nn.Sequential) -> None:
    assert us(model_of(net), rounding("2")) == pytest.approx(LAYERS + OTHER + 7 + 4 * MOVE)


def test_measured_plans_correct_the_kinds_of_parts_they_have(net: nn.Sequential) -> None:
    model = model_of(net)
    plans = [
        Plan.of([recode(net, "5.weight", RoundToNearest()), rounding("5")]),
        Plan.of([Swap("5", LowRank(torch.randn(8, 576), torch.randn(32, 8)))]),
        Plan.of([Swap("2", LowRank(torch.randn(8, 576), torch.randn(32, 8)))]),
        Plan.of([Swap("7", Identity())]),
    ]
    truth = replace(model, corrections=(1.3, 0.8, 0.9, 1.1))
    whole = us(truth)
    measured = [(plan, truth.predict(plan).milliseconds * 1e3 / whole) for plan in plans]
    before = replace(model, original_us=whole)
    after = before.corrected(measured)
    assert after.ratio_error is not None and after.ratio_error < 0.1
    assert str(after.predict(plans[0])).endswith(f"off by {after.ratio_error:.1%} on measured plans")


def test_without_measured_plans_that_is_said(net: nn.Sequential) -> None:
    found = model_of(net).corrected([])
    assert found.ratio_error is None
    assert str(found.predict(Plan())).endswith("1.00 of the original; not checked against any changed model")


def test_layers_that_alone_take_longer_than_all_together_are_scaled(net: nn.Sequential) -> None:
    found = replace(model_of(net), original_us=LAYERS / 2).corrected([])
    assert found.predict(Plan()).ratio == pytest.approx(1, abs=0.05)


def test_a_span_is_twice_the_error_wide(net: nn.Sequential) -> None:
    found = replace(model_of(net), ratio_error=0.1).predict(Plan())
    assert found.high / found.milliseconds == pytest.approx(math.exp(0.2))
    assert found.milliseconds / found.low == pytest.approx(math.exp(0.2))


def test_a_real_model_is_measured_and_its_offers_add_up(net: nn.Sequential) -> None:
    task = Task(evaluate=[INPUTS])
    prices = price(net, task, techniques=[RoundToNearest(bits=4)], measure=0)
    found = milliseconds(prices, net, task, table=fake_table())
    assert len(found.offers) == len(prices.offers) and found.original > 0
    by_layer = {offer.layer: [] for offer in prices.offers}  # type: dict[str, list[float]]
    for offer, ms in zip(prices.offers, found.offers, strict=True):
        by_layer[offer.layer].append(ms)
    assert by_layer.keys() == MACS.keys()
    for times in by_layer.values():  # what is decoded at load saves nothing
        assert times == pytest.approx([times[0]] * len(times))
    whole = found.model.predict(Plan())
    assert sum(times[0] for times in by_layer.values()) + found.other == pytest.approx(whole.milliseconds)
    assert isinstance(whole, Prediction) and np.isfinite(whole.milliseconds)


def test_plans_are_exported_and_measured_beside_the_original(net: nn.Sequential) -> None:
    plan = Plan.of([recode(net, "5.weight", RoundToNearest())])
    found = latency_model(net, Task(evaluate=[INPUTS]), table=fake_table(), plans=[plan])
    assert found.ratio_error is not None and found.original_ms > 0
