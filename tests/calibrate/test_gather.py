import gc

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations

from laconic.calibrate import calibrate, gather
from laconic.calibrate.predictions import Pull, pull
from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import Task


def images(count: int = 8) -> Tensor:
    return torch.randn(count, 2, 6, 6)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, groups=4, stride=2),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def test_gradients_are_those_of_labels_drawn_from_the_models_own_predictions() -> None:
    model, inputs = network().double().eval(), images().double()
    evidence = calibrate(model, Task(evaluate=[inputs]), seed=3)
    before = model[:3](inputs).detach().requires_grad_()
    middle = model[3](before)
    logits = model[4:](middle)
    error = pull(logits, None, torch.Generator().manual_seed(3), regression=False).error
    (expected,) = torch.autograd.grad(logits, middle, error)
    rows = expected.permute(1, 0, 2, 3).reshape(4, -1, 1)
    torch.testing.assert_close(evidence.layers["3.weight"].gradient_sum, rows.mT @ rows)
    torch.testing.assert_close(evidence.layers["6.weight"].gradient_sum[0], error.mT @ error)


def test_equal_arguments_give_equal_evidence_though_the_loader_shuffles() -> None:
    model, data = network(), torch.utils.data.TensorDataset(images(20))
    task = Task(evaluate=torch.utils.data.DataLoader(data, batch_size=4, shuffle=True))
    one = calibrate(model, task, samples=10)
    torch.manual_seed(1)
    other = calibrate(model, task, samples=10)
    for name, use in one.layers.items():
        assert torch.equal(use.A, other.layers[name].A)
        assert torch.equal(use.G, other.layers[name].G)


def test_another_seed_draws_other_labels() -> None:
    model, task = network(), Task(evaluate=[images()])
    one, other = (calibrate(model, task, seed=seed).layers["6.weight"] for seed in (0, 1))
    assert torch.equal(one.A, other.A)
    assert not torch.equal(one.G, other.G)


def test_no_more_samples_are_read_than_asked_for() -> None:
    evidence = calibrate(network(), Task(evaluate=[images(), images()]), samples=11)
    assert (evidence.samples, evidence.predictions) == (11, 11)


def test_parts_that_are_not_asked_for_are_left_out() -> None:
    task = Task(evaluate=[images()])
    assert calibrate(network(), task, activations=False).activations == {}
    neither = calibrate(network(), task, gradients=False, activations=False)
    assert all(use.gradient_sum is None for use in neither.uses)


def test_gradients_do_not_depend_on_whether_activations_are_gathered() -> None:
    model, task = network(), Task(evaluate=[images()])
    one, other = (calibrate(model, task, activations=activations) for activations in (True, False))
    for name, use in one.layers.items():
        assert torch.equal(use.G, other.layers[name].G)


def test_weights_that_no_recognised_product_uses_are_listed() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.zeros(1, 4))
            self.unused = nn.Linear(4, 4)
            self.normed = parametrizations.weight_norm(nn.Linear(4, 4))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.normed(x + self.position))

    evidence = calibrate(Odd(), Task(evaluate=[torch.randn(3, 4)]))
    assert list(evidence.layers) == ["head.weight"]
    assert evidence.unreached == (
        "position",
        "unused.weight",
        "normed.parametrizations.weight.original0",
        "normed.parametrizations.weight.original1",
    )


def test_a_layer_whose_output_is_dropped_costs_nothing() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.aside, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return self.head(x)

    evidence = calibrate(Aside(), Task(evaluate=[torch.randn(3, 4)]))
    assert evidence.nats("aside.weight", torch.ones(4, 4)) == 0
    assert evidence.nats("head.weight", torch.ones(2, 4).cumsum(0)) > 0


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def test_a_layer_that_runs_without_gradients_has_none() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.back, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.back(x)
            return self.head(x)

    task = Task(evaluate=[torch.randn(3, 4)])
    evidence = calibrate(Frozen(), task)
    assert evidence.layers["back.weight"].gradient_sum is None
    assert evidence.layers["head.weight"].gradient_sum is not None
    model = Frozen()
    model.head = Scale()
    evidence = calibrate(model, task)
    assert evidence.layers["back.weight"].gradient_sum is None
    assert evidence.unreached == ("head.scale",)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_weights_are_seen_at_every_step(kind: type[nn.RNNBase], batch_first: bool) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(4, 3, num_layers=2, bidirectional=True, batch_first=batch_first)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0].mean(1 if batch_first else 0)

    x = torch.randn(6, 6, 4)
    evidence = calibrate(Recurrent(), Task(evaluate=[x]))
    assert evidence.unreached == ()
    first = evidence.layers["rnn.weight_ih_l0"]
    torch.testing.assert_close(first.input_sum[0], (x.flatten(0, 1).T.double() @ x.flatten(0, 1).double()))
    assert all(use.positions.tolist() == [36] for use in evidence.uses)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_give_evidence_in_float64(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)
    x = torch.randn(8, 4).to(dtype)
    use = calibrate(model, Task(evaluate=[x])).layers["0.weight"]
    torch.testing.assert_close(use.input_sum[0], x.double().T @ x.double())
    assert use.G.dtype == torch.float64


@pytest.mark.parametrize("gradients", [True, False])
def test_transformers_run_as_plain_products(gradients: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(8, 3))
    evidence = calibrate(model, Task(evaluate=[(torch.randn(4, 5, 8), torch.zeros(4, 5))]), gradients=gradients)
    assert evidence.unreached == ()
    assert len(evidence.uses) == 9
    assert all(use.positions.tolist() == [20] for use in evidence.uses)


def test_memory_does_not_grow_with_the_number_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    living = []

    def count(*args: object, **kwargs: object) -> Pull:
        gc.collect()
        tensors = [t for t in gc.get_objects() if issubclass(type(t), Tensor)]
        living.append(sum(t.numel() for t in tensors if not is_lazy(t)))  # Other tests may have left lazy ones.
        return pull(*args, **kwargs)

    monkeypatch.setattr(gather, "pull", count)
    batch = images()
    calibrate(network(), Task(evaluate=[batch] * 8))
    assert len(living) == 8
    assert max(living[2:]) == min(living[2:])


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="ReLU has no parameters"):
        calibrate(nn.ReLU(), Task(evaluate=[images()]))


def test_weights_that_are_not_finite_are_named() -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[0] = torch.nan
        model[6].weight[0] = torch.inf
    with pytest.raises(ModelError, match=r"3\.weight: holds NaN or infinity"):
        calibrate(model, Task(evaluate=[images()]))


@pytest.mark.parametrize("activations", [True, False])
def test_the_layer_where_numbers_stop_being_finite_is_named(activations: bool) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log()

    model = nn.Sequential(nn.Linear(4, 4), Broken(), nn.Linear(4, 2))
    where = "the output of module '1'" if activations else "what goes into 2.weight"
    with pytest.raises(ModelError, match=f"calibrate: {where} holds NaN or infinity"):
        calibrate(model, Task(evaluate=[torch.randn(5, 4)]), activations=activations)


def test_logits_that_are_not_finite_are_refused() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.nan

    with pytest.raises(ModelError, match="the answer of Broken holds NaN"):
        calibrate(Broken(4, 2), Task(evaluate=[torch.randn(5, 4)]), activations=False)


def test_logits_cut_off_from_the_weights_are_refused() -> None:
    class Detached(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(ModelError, match="the logits carry no gradient"):
        calibrate(Detached(4, 2), Task(evaluate=[torch.randn(5, 4)]))
    assert calibrate(Detached(4, 2), Task(evaluate=[torch.randn(5, 4)]), gradients=False).predictions == 5


def test_a_call_without_gradients_is_refused_if_they_are_wanted() -> None:
    task = Task(evaluate=[torch.randn(5, 4)], call=torch.no_grad()(lambda model, batch: model(*batch.args)))
    with pytest.raises(ModelError, match="the logits carry no gradient"):
        calibrate(nn.Linear(4, 2), task)


def test_a_batch_that_the_model_refuses_is_described() -> None:
    with pytest.raises(DataError, match=r"Sequential refuses a batch with inputs of shape \[8, 3, 6, 6\] \(float32\)"):
        calibrate(network(), Task(evaluate=[torch.randn(8, 3, 6, 6)]))


def test_an_empty_loader_is_refused() -> None:
    with pytest.raises(DataError, match="the loader yields no samples"):
        calibrate(network(), Task(evaluate=[]))


def test_data_that_is_all_padding_is_refused() -> None:
    with pytest.raises(DataError, match="every label is -100"):
        calibrate(nn.Linear(4, 2), Task(evaluate=[(torch.randn(3, 4), torch.full((3,), -100))]))


def test_a_number_of_samples_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"calibrate.samples: got 0; expected a whole number of at least 1"):
        calibrate(network(), Task(evaluate=[images()]), samples=0)


@pytest.mark.gpu
def test_a_model_on_a_gpu_gives_the_evidence_of_the_cpu() -> None:
    model, task = network().double(), Task(evaluate=[images().double()])
    expected = calibrate(model, task)
    found = calibrate(model.cuda(), task)
    for name, use in expected.layers.items():
        torch.testing.assert_close(found.layers[name].A, use.A)
        assert found.layers[name].G.device.type == "cpu"
