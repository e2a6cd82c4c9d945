from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.calibrate import Evidence, Layer, LayerEvidence, calibrate
from laconic.core.errors import ArtifactError, UsageError
from laconic.core.task import Batch, Task


class Net(nn.Module):
    """A convolution, a linear layer, and an embedding tied to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.conv = nn.Conv1d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(self.embedding(x).mT).mT)


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randint(6, (4, 5)), torch.randint(6, (4, 5))) for _ in range(count)]


def assert_same(one: Evidence, other: Evidence, **tolerance: float) -> None:
    assert (one.samples, one.predictions, one.unreached) == (other.samples, other.predictions, other.unreached)
    assert [use.layer for use in one.uses] == [use.layer for use in other.uses]
    for a, b in zip(one.uses, other.uses, strict=True):
        torch.testing.assert_close(a.A, b.A, **tolerance)
        torch.testing.assert_close(a.G, b.G, **tolerance)
        assert torch.equal(a.positions, b.positions)
    assert one.activations.keys() == other.activations.keys()
    for name, histogram in one.activations.items():
        assert histogram.config() == other.activations[name].config()
        assert torch.equal(histogram.counts, other.activations[name].counts)


def example(*, inputs: Tensor, gradients: Tensor, layer: Layer, positions: int, predictions: int) -> LayerEvidence:
    positioned = torch.full((layer.groups,), positions)
    return LayerEvidence(
        layer=layer, input_sum=inputs, gradient_sum=gradients, positions=positioned, predictions=predictions
    )


def test_the_original_s_gradients_go_with_the_inputs_of_a_changed_model() -> None:
    layer = Layer(parameter="w", kind="linear", shape=(2, 3))
    inputs, gradients = torch.eye(3).double()[None], torch.eye(2).double()[None]
    original = example(inputs=inputs, gradients=gradients, layer=layer, positions=10, predictions=4)
    changed = replace(original, input_sum=3 * inputs, gradient_sum=None, positions=torch.tensor([5]))
    found = changed.with_gradients_of(original)
    assert torch.equal(found.G, original.G) and torch.equal(found.A, changed.A)
    assert original.with_gradients_of(found) is original and changed.with_gradients_of(None) is changed


def test_nats_is_half_the_trace_written_out() -> None:
    layer = Layer(parameter="w", kind="conv", shape=(4, 2, 3), groups=2)
    roots = torch.randn(2, 6, 6, dtype=torch.float64), torch.randn(2, 2, 2, dtype=torch.float64)
    inputs, gradients = (root @ root.mT for root in roots)
    use = example(inputs=inputs, gradients=gradients, layer=layer, positions=10, predictions=4)
    delta = torch.randn(4, 2, 3)
    expected = 0.0
    for group in range(2):
        d = delta[2 * group : 2 * group + 2].reshape(2, 6).double()
        expected += 0.5 * float(torch.trace((gradients[group] / 10) @ d @ (inputs[group] / 4) @ d.T))
    assert use.nats(delta) == pytest.approx(expected)


def test_diagonal_moments_give_the_price_of_their_full_form() -> None:
    layer = Layer(parameter="w", kind="linear", shape=(3, 5))
    inputs, gradients = torch.rand(1, 5, dtype=torch.float64), torch.rand(1, 3, dtype=torch.float64)
    thin = example(inputs=inputs, gradients=gradients, layer=layer, positions=3, predictions=7)
    full = example(
        inputs=inputs.diag_embed(), gradients=gradients.diag_embed(), layer=layer, positions=3, predictions=7
    )
    delta = torch.randn(3, 5)
    assert thin.nats(delta) == pytest.approx(full.nats(delta))


def test_sums_that_do_not_fit_the_layer_are_refused() -> None:
    layer = Layer(parameter="w", kind="linear", shape=(3, 5))
    with pytest.raises(
        UsageError, match=r"LayerEvidence\(w\).gradient_sum: got \[1, 5\]; expected shape \[1, 3, 3\] or"
    ):
        example(inputs=torch.ones(1, 5), gradients=torch.ones(1, 5), layer=layer, positions=1, predictions=1)


def kl(model: nn.Module, changed: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        p, q = model(inputs).double().log_softmax(-1), changed(inputs).double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


class Biased(nn.Module):
    """With a weight of zero, logits do not depend on the input: then G and A are independent, and nats are exact."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


def test_nats_is_the_true_divergence_of_a_small_change_of_a_softmax_model() -> None:
    bias, delta = torch.tensor([1.0, 0.0, -1.0]), 0.02 * torch.randn(3, 5)
    inputs = torch.randn(8192, 5) @ torch.randn(5, 5)
    model = Biased(torch.zeros(3, 5), bias)
    evidence = calibrate(model, Task(evaluate=[inputs]), samples=8192)
    assert evidence.nats("weight", delta) == pytest.approx(kl(model, Biased(delta, bias), inputs), rel=0.05)


def test_nats_is_per_prediction_where_a_sample_has_many() -> None:
    bias, delta = torch.tensor([1.0, 0.0, -1.0]), 0.02 * torch.randn(3, 5)
    inputs = torch.randn(512, 16, 5)
    model = Biased(torch.zeros(3, 5), bias)
    evidence = calibrate(model, Task(evaluate=[(inputs, torch.zeros(512, 16))]))
    assert evidence.predictions == 512 * 16
    assert evidence.nats("weight", delta) == pytest.approx(kl(model, Biased(delta, bias), inputs), rel=0.05)


class Pooled(Biased):
    """The same at many positions, whose outputs are summed into one prediction."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum(1)


def test_nats_sums_over_the_positions_that_one_prediction_uses() -> None:
    bias, delta = torch.tensor([0.1, 0.0, -0.1]), 0.005 * torch.randn(3, 5)
    inputs = torch.randn(8192, 8, 5)
    model = Pooled(torch.zeros(3, 5), bias)
    evidence = calibrate(model, Task(evaluate=[inputs]), samples=8192)
    assert evidence.nats("weight", delta) == pytest.approx(kl(model, Pooled(delta, bias), inputs), rel=0.08)


def test_nats_of_a_regression_is_half_the_squared_error() -> None:
    delta = 0.1 * torch.randn(3, 5)
    inputs = torch.randn(4096, 5)
    evidence = calibrate(nn.Linear(5, 3), Task(evaluate=[inputs], metric="mse"), samples=4096)
    half_squared_error = 0.5 * float((inputs @ delta.T).square().mean())
    assert evidence.nats("weight", delta) == pytest.approx(half_squared_error, rel=0.08)


def test_a_tied_weight_pays_for_all_its_uses() -> None:
    evidence = calibrate(Net(), Task(evaluate=batches(2)))
    uses = [use for use in evidence.uses if use.layer.parameter == "embedding.weight"]
    assert [use.layer.kind for use in uses] == ["embedding", "linear"]
    assert evidence.layers["embedding.weight"] is uses[1]
    delta = torch.randn(6, 4)
    assert evidence.nats("embedding.weight", delta) == pytest.approx(sum(use.nats(delta) for use in uses))


def test_halves_add_up_to_the_whole_in_any_order() -> None:
    model, data = Net(), batches(4)
    whole = calibrate(model, Task(evaluate=data))
    half = calibrate(model, Task(evaluate=data[:2])), calibrate(model, Task(evaluate=data[2:]))
    merged = half[0] + half[1]
    assert_same(half[1] + half[0], merged)
    assert (merged.samples, merged.predictions) == (whole.samples, whole.predictions) == (16, 80)
    for one, other in zip(merged.uses, whole.uses, strict=True):
        torch.testing.assert_close(one.A, other.A)
        assert torch.equal(one.positions, other.positions)
    for name, histogram in whole.activations.items():
        assert torch.equal(histogram.counts, merged.activations[name].counts)


def test_a_layer_that_one_half_never_reached_is_priced_over_all_predictions() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.rarely = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.always(self.rarely(x) if x.sum() > 0 else x)

    model, ones = Sometimes(), torch.ones(4, 3)
    without, with_it = (calibrate(model, Task(evaluate=[x])) for x in (-ones, ones))
    assert without.unreached == ("rarely.weight",)
    merged = without + with_it
    assert merged.unreached == ()
    torch.testing.assert_close(merged.layers["rarely.weight"].A, torch.full((1, 3, 3), 0.5, dtype=torch.float64))


def test_a_sum_with_evidence_without_gradients_has_none() -> None:
    data = Task(evaluate=batches(1))
    merged = calibrate(Net(), data) + calibrate(Net(), data, gradients=False)
    with pytest.raises(UsageError, match=r"conv.weight: this evidence holds no gradients"):
        merged.nats("conv.weight", torch.zeros(4, 2, 3))


def test_a_parameter_without_evidence_is_named() -> None:
    evidence = calibrate(Net(), Task(evaluate=batches(1)))
    with pytest.raises(
        UsageError, match=r"got 'conv.bias'; expected a parameter with evidence: embedding.weight, conv"
    ):
        evidence.nats("conv.bias", torch.zeros(4))


@pytest.mark.parametrize("gradients", [True, False])
def test_it_is_read_back_exactly_as_it_was_saved(tmp_path: Path, gradients: bool) -> None:
    evidence = calibrate(Net(), Task(evaluate=batches(2)), gradients=gradients)
    evidence.save(tmp_path / "evidence.safetensors")
    loaded = Evidence.load(tmp_path / "evidence.safetensors")
    if gradients:
        assert_same(evidence, loaded, rtol=0, atol=0)
    assert all(use.gradient_sum is None for use in loaded.uses) is not gradients


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "evidence.safetensors"
    calibrate(Net(), Task(evaluate=batches(1))).save(path)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", content.replace(b"samples", b"sampled")):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"evidence.safetensors"):
            Evidence.load(path)


def test_evidence_that_is_printed_is_one_line() -> None:
    evidence = calibrate(Net(), Task(evaluate=batches(2), split=lambda pair: Batch(args=pair[:1])), gradients=False)
    assert str(evidence) == "Evidence of 8 samples: 2 weights, without gradients"
