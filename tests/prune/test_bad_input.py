"""What a stranger may pass: each is one clear line, or a result that says what it left out."""

import warnings

import pytest
import torch
from torch import Tensor, nn

import laconic
from laconic.core.errors import LaconicError, ModelError, UsageError
from laconic.core.task import Task
from laconic.prune import prune

X = torch.randn(4, 6)


def network():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


class Packed(nn.Module):
    """What PyTorch's dynamic quantisation leaves of a linear layer raises, when it is exported."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        if torch.compiler.is_exporting():
            raise RuntimeError(
                "__torch__.torch.classes.quantized.LinearPackedParamsBase has no field '__obj_flatten__'"
            )
        return self.last(self.first(x))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.first(x) if x.sum() > 0 else self.first(-x))


class Codes(nn.Module):
    """Integer weights in one layer, floating point in the next."""

    def __init__(self):
        super().__init__()
        self.codes = nn.Parameter(torch.randint(-8, 8, (8, 6), dtype=torch.int8), requires_grad=False)
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(x @ self.codes.T.to(x.dtype))


def on_meta():
    return network().to("meta")


def not_a_number():
    model = network()
    model[2].weight.data[0, 0] = torch.inf
    return model


def scripted():
    with warnings.catch_warnings(action="ignore"):  # PyTorch would rather have it exported.
        return torch.jit.trace(network(), X)


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (
            nn.Linear(6, 2),
            X,
            r"Linear has nothing that can be cut: all is frozen, \{weight,bias\}\[0\] by the model's outp",
        ),
        (nn.Sequential(nn.Flatten()), X, "it has no parameters of floating point"),
        (network(), X[:, :5], "fails on the example inputs: mat1 and mat2 shapes cannot be multiplied"),
        (network(), (X, X), "takes 2 positional arguments but 3 were given"),
        (network(), {"z": X}, "unexpected keyword argument 'z'"),
        (network(), (), "missing 1 required positional argument"),
        (network(), X.long(), "fails on the example inputs"),
        (Branching(), X, "Branching cannot be exported at .*test_bad_input.py:.*it decides by the values of a tensor"),
        (Packed(), X, "its weights are packed by PyTorch's quantisation. Pass the network as it was before"),
        (on_meta(), X, "0.weight: is on the meta device"),
        (nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 2)), X, "0.weight: has no shape yet"),
        (not_a_number(), X, "2.weight: holds NaN or infinity"),
        (network(), laconic.Task(evaluate=[]), "the loader yields no samples"),
    ],
)
def test_models_and_inputs_that_do_not_fit_are_one_line(model, data, words):
    with pytest.raises(LaconicError, match=words) as raised:
        prune(model, data)
    assert "\n" not in str(raised.value) and not isinstance(raised.value, UsageError)


@pytest.mark.parametrize(
    ("model", "data", "options", "words"),
    [
        (torch.relu, X, {}, "prune.model: got 'builtin_function_or_method'; expected a torch.nn.Module"),
        (
            scripted(),
            X,
            {},
            "capture.model: got 'TopLevelTracedModule'; expected .* written in Python",
        ),
        (network(), 3, {}, "example inputs: got 3; expected a Task, a tensor"),
        (network(), "x", {}, "example inputs: got 'x'"),
        (network(), X, {"ratio": "0.5"}, "prune.ratio: got '0.5'; expected a fraction"),
        (network(), X, {"ratio": float("nan")}, "prune.ratio: got nan"),
        (network(), X, {"keep": "haed.*"}, "prune.keep: got 'haed.*'; expected a pattern that matches a parameter"),
    ],
)
def test_wrong_usage_is_one_line(model, data, options, words):
    with pytest.raises(UsageError, match=words) as raised:
        prune(model, data, **options)
    assert "\n" not in str(raised.value)


def test_a_single_pattern_need_not_be_in_a_list():
    with pytest.raises(ModelError, match="all are kept by name"):
        prune(network(), X, keep="0.*")


def test_integer_weights_are_cut_like_others_and_keep_their_type():
    model = Codes()
    pruned = prune(model, X, ratio=0.5)
    assert pruned.model.codes.dtype == torch.int8 and pruned.model.codes.shape == (4, 6)
    kept = pruned.keep["codes[0]"]
    assert torch.equal(pruned.model.codes, model.codes[kept]) and pruned.error < 1e-6


def test_limits_that_forbid_everything_give_the_model_back_and_say_so():
    pruned = prune(network(), X, least=0.99)
    assert len(pruned.plan) == 0 and "saved 0.0%" in str(pruned)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.out = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x)
        return self.out(mean + torch.randn_like(mean))


def test_a_model_that_draws_random_numbers_in_eval_mode_is_refused_with_what_to_do():
    with pytest.raises(ModelError, match=r"Noisy: answers the same inputs differently each time.* `if self.training`"):
        prune(Noisy(), torch.randn(4, 4), ratio=0.3)


def sequences(*lengths):
    return [(torch.randn(8, 3, length), torch.zeros(8, dtype=torch.long)) for length in lengths]


def convolutional():
    return nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())


@pytest.mark.parametrize("units", [None, ["blocks"]])
def test_batches_of_a_shorter_length_than_the_captured_one_are_left_out_and_counted(units):
    model = nn.Sequential(convolutional(), Residual()) if units else nn.Sequential(convolutional(), nn.Linear(8, 3))
    words = r"Task.calibrate: 1 of 3 batches do not fit .* size \[3, 12\]: theirs are \[3, 10\]. Pad or cut"
    with pytest.warns(UserWarning, match=words):
        found = prune(model, Task(evaluate=sequences(12, 10, 16)), ratio=0.2, units=units)
    assert found.after.macs < found.before.macs


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inside(x)


class Graphs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.last(
            torch.relu(self.first(x)).index_add(0, edge_index[1], torch.relu(self.first(x[edge_index[0]])))
        )


def test_a_graph_is_not_cut_to_its_first_nodes():
    batches = [{"x": torch.randn(30, 4), "edge_index": torch.randint(0, 30, (2, 50))} for _ in range(3)]
    found = prune(Graphs(), Task(evaluate=batches, metric="mse"), ratio=0.5, samples=40)
    assert found.after.macs <= 0.55 * found.before.macs
