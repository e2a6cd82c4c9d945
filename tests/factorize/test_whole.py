from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.edit import Swap
from laconic.core.errors import ModelError, UsageError
from laconic.core.state import load_state, save_state
from laconic.core.task import Task
from laconic.export.onnxruntime import export
from laconic.factorize import ALL, SVD, Factorization, Tucker2, factorize
from laconic.measure import kl_divergence
from laconic.quantize import quantize


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(12 * 16, 32), nn.ReLU(), nn.Linear(32, 10)).eval()


def smooth(count: int, seed: int) -> torch.Tensor:
    """Images whose neighbours resemble each other, so that inputs are correlated as real ones are."""
    noise = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(noise, 5, stride=1).mul(5)


TASK = Task(evaluate=[smooth(64, seed) for seed in range(4)])
MODEL = network()
EVIDENCE = calibrate(MODEL, TASK, activations=False)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
def test_the_ratio_asked_is_saved_and_little_more(ratio: float) -> None:
    smaller = apply(MODEL, factorize(MODEL, TASK, ratio=ratio, evidence=EVIDENCE))
    assert ratio <= 1 - parameters(smaller) / parameters(MODEL) < ratio + 0.03


@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_a_higher_ratio_costs_more_and_saves_more(of: str) -> None:
    held_out = smooth(128, seed=99)
    found = [apply(MODEL, factorize(MODEL, TASK, ratio=r, of=of, evidence=EVIDENCE)) for r in (0.1, 0.4)]
    with torch.no_grad():
        near, far = (kl_divergence(MODEL(held_out), model(held_out)).mean() for model in found)
    assert near < far
    assert parameters(found[0]) > parameters(found[1])


def test_what_it_predicts_is_near_what_it_costs() -> None:
    plan = factorize(MODEL, TASK, ratio=0.2, evidence=EVIDENCE)
    seen = torch.cat([smooth(64, seed) for seed in range(4)])
    predicted = 0.0
    for edit in plan:
        assert isinstance(edit, Swap)
        alone = apply(MODEL, type(plan).of([edit]))
        with torch.no_grad():
            predicted += kl_divergence(MODEL(seen), alone(seen)).mean().item()
    with torch.no_grad():
        measured = kl_divergence(MODEL(seen), apply(MODEL, plan)(seen)).mean().item()
    assert 1 / 3 < measured / predicted < 3


def test_answers_that_were_seen_weigh_more_than_weights() -> None:
    held_out = smooth(256, seed=99)

    def distance(method: Factorization | None) -> float:
        plan = factorize(MODEL, TASK, ratio=0.5, method=method, evidence=EVIDENCE)
        with torch.no_grad():
            return kl_divergence(MODEL(held_out), apply(MODEL, plan)(held_out)).mean().item()

    assert distance(None) < distance(SVD())


def test_more_energy_kept_is_a_higher_rank() -> None:
    half, most = (apply(MODEL, factorize(MODEL, TASK, energy=e)) for e in (0.5, 0.9))
    assert parameters(half) < parameters(most) < parameters(MODEL)


def test_all_energy_leaves_the_model_as_it_is() -> None:
    assert len(factorize(MODEL, TASK, energy=1.0, evidence=EVIDENCE)) == 0


@pytest.mark.parametrize("kind", ALL)
def test_a_saved_plan_loads_and_the_new_layers_can_be_trained(kind: type[Factorization], tmp_path: Path) -> None:
    plan = factorize(MODEL, TASK, ratio=0.05, of="macs", method=kind(), evidence=EVIDENCE)
    smaller, x = apply(MODEL, plan), smooth(8, seed=5)
    save_state(tmp_path, smaller, plan)
    again, loaded = load_state(tmp_path, network())
    assert loaded == plan
    assert torch.equal(again(x), smaller(x))
    smaller(x).square().mean().backward()
    assert all(p.grad is not None for p in smaller.parameters())


def test_thin_layers_can_be_rounded_and_are_real_layers_in_the_exported_file(tmp_path: Path) -> None:
    thin = factorize(MODEL, TASK, ratio=0.4, evidence=EVIDENCE)
    smaller = apply(MODEL, thin)
    rounded = quantize(smaller, TASK, bits=8)
    together = apply(MODEL, thin + rounded)
    x = smooth(8, seed=5)
    assert torch.equal(together(x), apply(smaller, rounded)(x))
    export(smaller, thin, TASK, next(TASK.batches("evaluate")), tmp_path / "model.onnx")
    nodes = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert nodes.count("Conv") + nodes.count("Gemm") + nodes.count("MatMul") == 4 + len(thin)


def test_tied_shared_and_foreign_weights_stay() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 16)
            self.twice = nn.Linear(16, 16)
            self.again = self.twice
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.free = nn.Linear(16, 16)
            self.head = nn.Linear(16, 20, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.again(self.twice(self.table(ids)))
            return self.head(self.free(self.attention(x, x, x)[0]))

    model = Odd().eval()
    task = Task(evaluate=[torch.randint(0, 20, (8, 5))], metric="mse")
    assert [edit.where for edit in factorize(model, task, rank=2)] == ["free"]


def test_layers_are_kept_by_name() -> None:
    plan = factorize(MODEL, TASK, rank=2, keep=("0", "7"), evidence=EVIDENCE)
    assert [edit.where for edit in plan] == ["2", "5"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ratio": 0.0}, r"factorize.ratio: got 0.0; expected a fraction in \(0, 1\)"),
        ({"ratio": 1.0}, r"factorize.ratio: got 1.0"),
        (
            {"ratio": 0.999},
            r"got 0.999; expected at most 0\.\d+: the layers that can be factorised, \d of .* are \d+\.\d% of its",
        ),
        ({"energy": 1.5}, r"factorize.energy: got 1.5"),
        ({"rank": 0}, r"factorize.rank: got 0"),
        ({"rank": 2, "energy": 0.5}, "got energy and rank; expected one of them"),
        ({"of": "bytes"}, "factorize.of: got 'bytes'"),
        ({"keep": ("features",)}, "factorize.keep: got 'features'; expected a pattern that matches a module"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        factorize(MODEL, TASK, evidence=EVIDENCE, **options)


def test_a_model_without_a_layer_to_factorise_is_refused() -> None:
    task = Task(evaluate=[torch.randn(8, 4)], metric="mse")
    with pytest.raises(ModelError, match="Sequential has no linear layer or convolution that Tucker2 makes smaller"):
        factorize(nn.Sequential(nn.Linear(4, 4)), task, rank=1, method=Tucker2())


def test_a_weight_with_nan_is_refused_by_name() -> None:
    model = network()
    with torch.no_grad():
        model[5].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"5.weight: holds NaN or infinity"):
        factorize(model, TASK, rank=2, evidence=EVIDENCE)


def test_the_original_is_as_it_was_and_plans_repeat() -> None:
    before = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
    one, other = (factorize(MODEL, TASK, ratio=0.3) for _ in range(2))
    assert one == other
    assert all(torch.equal(before[name], tensor) for name, tensor in MODEL.state_dict().items())
