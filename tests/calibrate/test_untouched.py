import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laconic.calibrate import calibrate
from laconic.core.errors import DataError
from laconic.core.task import Task


class Restless(nn.Module):
    """Changes what it can while it runs: buffers in place and by replacement, rows of an embedding, random state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4, max_norm=0.5)
        self.frozen = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout()
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.frozen.requires_grad_(False)
        self.norm.eval()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("latest", torch.zeros(1))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.latest = self.calls * 2
        self.nothing = self.calls * 3
        self.register_buffer("cache", x)
        hidden = self.norm(self.frozen(self.dropout(self.embedding(x))).mT).mT
        return self.head(self.rnn(hidden)[0][:, -1]) + 0 * torch.rand(1)


def state(model: nn.Module) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {name: t.detach().clone() for name, t in tensors.items()},
        "identities": {name: id(t) for name, t in tensors.items()},
        "flags": {name: t.requires_grad for name, t in tensors.items()},
        "gradients": {name: None if t.grad is None else t.grad.clone() for name, t in tensors.items()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for name, m in model.named_modules()
        },
        "buffers": {name: set(m._buffers) for name, m in model.named_modules()},
        "global hooks": (
            len(nn.modules.module._global_forward_hooks),
            len(nn.modules.module._global_forward_pre_hooks),
        ),
        "random": torch.get_rng_state(),
        "switches": (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.mkldnn.enabled,
            torch.backends.cudnn.enabled,
            torch.is_grad_enabled(),
        ),
    }


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


@pytest.fixture
def model() -> Restless:
    model = Restless()
    model.frozen.register_forward_hook(lambda *_: None)
    model(torch.randint(6, (4, 5))).sum().backward()
    del model.cache
    return model.train()


@pytest.mark.parametrize("gradients", [True, False])
def test_a_pass_leaves_the_model_and_the_process_as_they_were(model: Restless, gradients: bool) -> None:
    task = Task(evaluate=[torch.randint(6, (4, 5))] * 2)
    before = state(model)
    evidence = calibrate(model, task, gradients=gradients)
    assert evidence.unreached == ()
    assert_same(before, state(model))


def test_a_pass_that_fails_leaves_them_as_they_were_too(model: Restless) -> None:
    data = [torch.randint(6, (4, 5)), torch.full((4, 5), 6)]
    before = state(model)
    with pytest.raises(DataError, match="index 6 out of range"):
        calibrate(model, Task(evaluate=data))
    assert_same(before, state(model))


def test_the_model_runs_in_eval_mode_even_if_it_is_in_train_mode(model: Restless) -> None:
    task = Task(evaluate=[torch.randint(6, (4, 5))])
    one, other = calibrate(model, task), calibrate(copy.deepcopy(model).eval(), task)
    assert torch.equal(one.layers["head.weight"].A, other.layers["head.weight"].A)


def test_gradients_are_gathered_inside_no_grad_too(model: Restless) -> None:
    with torch.no_grad():
        evidence = calibrate(model, Task(evaluate=[torch.randint(6, (4, 5))]))
    assert float(evidence.layers["frozen.weight"].G.abs().sum()) > 0
