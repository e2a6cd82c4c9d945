"""What is wrong from the start is said before anything long starts: one line each, with the place and the remedy."""

from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from laconic import Budget, DataError, ExportError, Metric, ModelError, Target, Task, UsageError, compress
from laconic.core.errors import LaconicError
from laconic.pipeline.checks import check_batch_size, check_drop, check_task

from .samples import at_once, data, network, task


class Broken(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        raise KeyError("sample\n3")


def damaged(value: float) -> nn.Module:
    model = network()
    model[4].weight.data[1, 2] = value
    return model


def scored(score) -> Task:
    return task(metric=Metric(name="mine", score=score))


X, Y = data()
CASES = {
    "no module": ("a model", task(), UsageError, "compress.model: got 'str'; expected a torch.nn.Module"),
    "no task": (network(), [(X, Y)], UsageError, "compress.task: got 'list'; expected a laconic.Task"),
    "no parameters": (nn.Sequential(nn.ReLU()), task(), ModelError, "Sequential: has no parameters"),
    "NaN": (damaged(torch.nan), task(), ModelError, "4.weight: holds NaN or infinity"),
    "infinity": (damaged(-torch.inf), task(), ModelError, "4.weight: holds NaN or infinity"),
    "meta": (network().to("meta"), task(), ModelError, "0.weight: is on the meta device"),
    "lazy": (nn.LazyLinear(4), task(), ModelError, "weight: has no shape yet"),
    "half": (network().half(), task(), ModelError, "0.weight: is float16; expected float32"),
    "empty": (network(), task(evaluate=[]), DataError, "Task.evaluate: the loader yields no samples"),
    "nothing to train on": (network(), task(train=[]), DataError, "the loader yields no samples"),
    "a failing loader": (network(), task(train=DataLoader(Broken())), DataError, "(KeyError: 'sample"),
    "wrong shape": (network(), task(evaluate=[(X[:, 1:], Y)]), DataError, "inputs of shape [64, 15] (float32)"),
    "wrong shape to train on": (network(), task(train=[(X[:, 1:], Y)]), DataError, "inputs of shape [64, 15]"),
    "wrong type": (network(), task(evaluate=[(X.double(), Y)]), DataError, "(float64)"),
    "labels out of range": (
        network(),
        task(evaluate=[(X, Y + 1)]),
        DataError,
        "got labels from 1 to 4; expected 0 to 3",
    ),
    "negative labels": (network(), task(evaluate=[(X, Y - 1)]), DataError, "got labels from -1 to 2"),
    "no labels": (network(), task(evaluate=[X]), DataError, "Task.evaluate: the batches have no labels"),
    "a metric of NaN": (network(), scored(lambda _, y: y * torch.nan), DataError, "'mine' returned nan"),
    "a failing metric": (network(), scored(lambda *_: 1 / 0), DataError, "'mine' fails on logits of shape [16, 4]"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_from_the_start_is_one_clear_line_and_nothing_is_made(case, tmp_path):
    model, wrong, kind, words = CASES[case]
    with pytest.raises(LaconicError) as caught:
        compress(model, wrong, Budget(size=0.5), work=tmp_path / "work")
    assert isinstance(caught.value, kind)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_points_written_as_a_whole_number_are_refused_for_a_share_and_taken_for_an_error():
    with pytest.raises(UsageError, match=r"Budget\.drop: got 5\.0; expected at most 1, .* For 5 points write 0\.05 or"):
        compress(network(), task(), Budget(drop=5))
    check_drop(Budget(drop=5), task(metric="mse"))
    check_drop(Budget(drop=1), task())


@pytest.mark.parametrize("given", ["abacus", "onnxruntime:cores=2", "onnxruntime:threads=0"])
def test_a_target_that_is_not_known_is_wrong_usage(given):
    with pytest.raises(UsageError, match="Target"):
        compress(network(), task(), target=given)


def test_evaluation_data_that_comes_in_another_order_each_time_is_said():
    shuffled = DataLoader(list(zip(X, Y, strict=True)), batch_size=32, shuffle=True)
    with at_once(), pytest.raises(DataError, match=r"Task\.evaluate: two passes gave different batches"):
        compress(network(), task(evaluate=shuffled), Budget(size=0.5))


def test_a_memory_budget_that_cannot_be_judged_is_said_with_the_reason():
    with (
        at_once(),
        patch("laconic.pipeline.figures.peak_memory", side_effect=LaconicError("peak_memory: killed")),
        pytest.raises(LaconicError, match=r"Budget\.memory: cannot be judged: peak_memory: killed"),
    ):
        compress(network(), task(), Budget(memory=0.5))


def test_a_batch_size_that_the_models_code_fixes_must_be_the_targets():
    check_batch_size(True, 32, Target(batch_size=1))
    check_batch_size(False, 32, Target(batch_size=32))
    with pytest.raises(
        ExportError, match=r"got 1; the model's code fixes the batch at the 32 .*'onnxruntime:batch_size=32'"
    ):
        check_batch_size(False, 32, Target(batch_size=1))


def test_labels_of_a_language_model_that_are_its_inputs_are_said():
    ids = torch.arange(6).reshape(2, 3)
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6))
    with pytest.warns(UserWarning, match="the labels are the inputs themselves"):
        check_task(model, Task(evaluate=[(ids, ids.clone())]))
    check_task(model, Task(evaluate=[(ids, ids.roll(-1, 1))]))


def test_an_autoencoder_whose_labels_are_its_inputs_is_no_mistake():
    x = torch.randn(4, 3)
    check_task(nn.Linear(3, 3), Task(evaluate=[(x, x.clone())], metric="mse"))


def test_a_model_that_draws_random_numbers_in_eval_mode_is_refused_with_what_to_do():
    class Noisy(nn.Linear):
        def forward(self, x):
            return functional.dropout(functional.linear(x, self.weight))

    with pytest.raises(ModelError, match=r"Noisy: answers the same inputs differently .*training=self.training"):
        check_task(Noisy(3, 3), Task(evaluate=[(torch.randn(16, 3), torch.zeros(16, dtype=torch.long))]))


@pytest.mark.parametrize("budget", [0.25, {"size": 0.25}])
def test_a_number_in_the_place_of_a_budget_is_refused_with_what_to_write(budget):
    with pytest.raises(UsageError, match=r"compress.budget: got .* write laconic.Budget\(size=0.25\)"):
        compress(network(), task(), budget)
