import numpy as np
import pytest
import torch
from torch import nn

from laconic.core.errors import UsageError
from laconic.core.task import Task
from laconic.measure import TorchRunner

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
TASK = Task(evaluate=[(X, torch.zeros(5, dtype=torch.long))])


class Spy(nn.Module):
    """Answers with its input and remembers the circumstances."""

    def forward(self, x):
        self.seen = (torch.get_num_threads(), self.training, torch.is_inference_mode_enabled())
        return x


class Named(nn.Module):
    def forward(self, *, left, scale, right):
        return {"logits": left.float() - scale * right.float()}


def test_logits_equal_those_of_the_module_in_eval_mode():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9))
    expected = model.eval()(X)
    np.testing.assert_array_equal(TorchRunner(model.train(), TASK).run([X.numpy()]), expected.detach().numpy())


def test_modes_and_threads_are_restored_even_those_that_differ_within_the_module():
    model = nn.Sequential(Spy(), nn.Dropout(), nn.Dropout()).train()
    model[1].eval()
    before = torch.get_num_threads()
    TorchRunner(model, TASK, threads=before + 1).run([X.numpy()])
    assert model[0].seen == (before + 1, False, True)
    assert torch.get_num_threads() == before
    assert [m.training for m in model.modules()] == [True, True, False, True]


def test_modes_and_threads_are_restored_when_the_module_fails():
    model = nn.Linear(4, 1).train()
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        TorchRunner(model, TASK, threads=before + 1).run([X.numpy()])
    assert model.training
    assert torch.get_num_threads() == before


def test_inputs_go_where_the_evaluation_batches_have_them_and_other_values_stay():
    batch = {"left": X, "scale": 2, "right": torch.ones(5, 3, dtype=torch.int64), "labels": torch.zeros(5)}
    found = TorchRunner(Named(), Task(evaluate=[batch])).run([X[:2].numpy(), np.full((2, 3), 3)])
    np.testing.assert_array_equal(found, X[:2].numpy() - 6)


@pytest.mark.parametrize(("step", "writeable"), [(-1, True), (1, False)])
def test_arrays_that_pytorch_cannot_share_are_copied(step, writeable):
    array = X.clone().numpy()[::step]
    array.flags.writeable = writeable
    np.testing.assert_array_equal(TorchRunner(Spy(), TASK).run([array]), array)


def test_bfloat16_models_take_and_give_float32_arrays():
    task = Task(evaluate=[(X.bfloat16(), torch.zeros(5))])
    model = nn.Linear(3, 2).bfloat16()
    found = TorchRunner(model, task).run([X.bfloat16().float().numpy()])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, model(X.bfloat16()).float().detach().numpy())


def test_a_wrong_number_of_inputs_is_refused():
    with pytest.raises(UsageError, match=r"TorchRunner.run.inputs: got 2; expected 1 arrays"):
        TorchRunner(Spy(), TASK).run([X.numpy(), X.numpy()])


def test_zero_threads_are_refused():
    with pytest.raises(UsageError, match=r"TorchRunner.threads: got 0"):
        TorchRunner(Spy(), TASK, threads=0)
