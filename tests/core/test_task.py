from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from laconic.core.errors import DataError, UsageError
from laconic.core.metric import Metric, correct
from laconic.core.task import Batch, Task, cross_entropy, read_logits, split_batch, squared_error

X, Y = torch.arange(12.0).view(4, 3), torch.tensor([0, 1, 0, 1])
Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    "raw", [(X, Y), [X, Y], Pair(X, Y), (X, Y.numpy()), (X, Y.tolist()), Batch(args=(X,), labels=Y)]
)
def test_a_pair_is_input_and_truth(raw: Any) -> None:
    batch = split_batch(raw)
    assert batch.args == (X,)
    assert batch.kwargs == {}
    assert torch.equal(batch.labels, Y)
    assert batch.size == 4


def test_of_a_longer_tuple_only_the_last_is_truth() -> None:
    batch = split_batch((X, X + 1, Y))
    assert len(batch.args) == len(batch.inputs) == 2
    assert batch.labels is Y


@pytest.mark.parametrize("raw", [X, [X], (X,), {"x": X}, (X, None)])
def test_a_batch_may_have_no_truth(raw: Any) -> None:
    batch = split_batch(raw)
    assert batch.labels is None
    assert batch.inputs[0] is X


@pytest.mark.parametrize("key", ["labels", "label", "targets", "target", "y"])
@pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict])
def test_a_mapping_passes_all_but_the_truth_by_name(key: str, kind: Callable[[dict[str, Any]], Any]) -> None:
    batch = split_batch(kind({"input_ids": X, key: Y, "attention_mask": X}))
    assert list(batch.kwargs) == ["input_ids", "attention_mask"]
    assert batch.args == ()
    assert batch.labels is Y
    assert batch.size == 4


@pytest.mark.parametrize("raw", [(), [], {}, "text", 3, None, {"labels": Y}, torch.tensor(1.0)])
def test_a_batch_without_an_input_tensor_is_refused(raw: Any) -> None:
    with pytest.raises(DataError, match=r"a batch of type \w+ holds no input tensor; .* Pass Task\(split=...\)"):
        split_batch(raw)


def test_labels_that_are_words_are_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"labels of type list cannot be read as a tensor .* Pass Task\(split=...\)"):
        split_batch((X, ["cat", "dog", "cat", "dog"]))


def test_first_cuts_what_has_an_entry_a_sample_and_leaves_the_rest() -> None:
    shared, scalar = torch.zeros(7, 2), torch.tensor(3.0)
    batch = Batch(args=(X, shared, "mode"), kwargs={"scale": scalar, "mask": X}, labels=Y).first(2)
    assert torch.equal(batch.args[0], X[:2])
    assert batch.args[1:] == (shared, "mode")
    assert batch.kwargs["scale"] is scalar
    assert torch.equal(batch.kwargs["mask"], X[:2])
    assert torch.equal(batch.labels, Y[:2])


def test_to_moves_every_tensor() -> None:
    batch = Batch(args=(X, "mode"), kwargs={"mask": X}, labels=Y).to("meta")
    assert {t.device.type for t in (*batch.inputs, batch.labels)} == {"meta"}
    assert batch.args[1] == "mode"


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


@pytest.mark.parametrize(
    "output",
    [
        X,
        (X, Y),
        [X],
        {"logits": X, "loss": Y},
        OrderedDict(out=X, aux=Y),
        SimpleNamespace(logits=X, hidden=Y),
        SimpleNamespace(last_hidden_state=X, pooler_output=Y),
        Output(X),
        Pair(X, Y),
    ],
)
def test_logits_are_found_in_the_usual_outputs(output: Any) -> None:
    assert read_logits(output) is X


@pytest.mark.parametrize("output", [None, 3, {}, {"loss": X}, (), (3, X), SimpleNamespace(logits=None), "logits"])
def test_an_output_without_logits_is_refused(output: Any) -> None:
    with pytest.raises(DataError, match=r"the model returned \w+; expected a tensor, .* Pass Task\(logits=...\)"):
        read_logits(output)


class Named(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=input_ids * attention_mask)


def test_a_model_of_hugging_face_style_works_untouched() -> None:
    task = Task(evaluate=[{"attention_mask": X, "input_ids": X + 1, "labels": Y}])
    (batch,) = task.batches("evaluate")
    assert torch.equal(task.forward(Named(), batch), X * (X + 1))


def test_every_step_can_be_replaced() -> None:
    task = Task(
        evaluate=[{"pixels": X, "truth": Y}],
        split=lambda raw: Batch(args=(raw["pixels"],), labels=raw["truth"]),
        call=lambda model, batch: {"answer": model(batch.args[0])},
        logits=lambda output: output["answer"],
        loss=lambda logits, labels: logits.sum(),
        metric=Metric(name="own", score=correct),
    )
    (batch,) = task.batches("evaluate")
    assert torch.equal(task.forward(nn.Identity(), batch), X)
    assert task.criterion(X, Y) == X.sum()
    assert task.score.name == "own"


@pytest.mark.parametrize("part", ["evaluate", "train", "calibrate"])
@pytest.mark.parametrize("loader", [iter([(X, Y)]), (b for b in [(X, Y)]), zip([X], [Y], strict=True)])
def test_what_can_be_walked_only_once_is_refused(part: str, loader: Iterator[Any]) -> None:
    with pytest.raises(UsageError, match=f"Task.{part}: got .* expected something that can be walked more than once"):
        Task(**{"evaluate": [(X, Y)], part: loader})


class Rows(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return X[index]


@pytest.mark.parametrize("loader", [3, Rows()])
def test_a_data_set_is_not_a_loader(loader: Any) -> None:
    with pytest.raises(UsageError, match=r"Task.train: got .* such as a DataLoader"):
        Task(evaluate=[(X, Y)], train=loader)


@pytest.mark.parametrize("loader", [[], DataLoader(TensorDataset(X[:0]))])
def test_an_empty_loader_is_refused_when_it_is_read(loader: Iterable[Any]) -> None:
    with pytest.raises(DataError, match=r"Task.train: the loader yields no samples"):
        list(Task(evaluate=[(X, Y)], train=loader).batches("train"))


def test_a_missing_part_is_named() -> None:
    with pytest.raises(DataError, match=r"Task.train: there is none, .* Pass Task\(train=loader\)"):
        list(Task(evaluate=[(X, Y)]).batches("train"))


def test_calibration_falls_back_to_training_then_to_evaluation_data() -> None:
    one, two, three = [X], [X], [X]
    assert Task(evaluate=one, train=two, calibrate=three).loader("calibrate") is three
    assert Task(evaluate=one, train=two).loader("calibrate") is two
    assert Task(evaluate=one).loader("calibrate") is one


@pytest.mark.parametrize(
    ("limit", "sizes"), [(None, [4, 4, 2]), (10, [4, 4, 2]), (8, [4, 4]), (5, [4, 1]), (3, [3]), (99, [4, 4, 2])]
)
def test_a_limit_counts_samples_across_batches(limit: int | None, sizes: list[int]) -> None:
    task = Task(evaluate=DataLoader(TensorDataset(torch.arange(10.0)[:, None], torch.arange(10)), batch_size=4))
    batches = list(task.batches("evaluate", limit=limit))
    assert [batch.size for batch in batches] == [len(batch.labels) for batch in batches] == sizes
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(sum(sizes)))


def test_no_batch_is_drawn_beyond_the_limit() -> None:
    class Counting:
        drawn = 0

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            while True:
                self.drawn += 1
                yield X, Y

    loader = Counting()
    list(Task(evaluate=loader).batches("evaluate", limit=8))
    assert loader.drawn == 2


@pytest.mark.parametrize("returned", [Batch(), None, (X, Y), Batch(labels=Y)])
def test_a_split_that_returns_no_batch_with_inputs_is_refused(returned: Any) -> None:
    task = Task(evaluate=[(X, Y)], split=lambda raw: returned)
    with pytest.raises(DataError, match="a batch of type tuple holds no input tensor"):
        list(task.batches("evaluate"))


def test_a_bad_batch_in_the_middle_is_refused_when_it_comes() -> None:
    walk = Task(evaluate=[(X, Y), "text"]).batches("evaluate")
    assert next(walk).size == 4
    with pytest.raises(DataError, match="a batch of type str"):
        next(walk)


def test_a_task_can_be_walked_again_and_again() -> None:
    task = Task(evaluate=[(X, Y)])
    assert len(list(task.batches("evaluate"))) == len(list(task.batches("evaluate"))) == 1


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 7)])
def test_cross_entropy_is_the_mean_in_nats_over_what_counts(shape: tuple[int, ...]) -> None:
    logits, labels = torch.randn(shape, dtype=torch.float64), torch.randint(7, shape[:-1])
    labels[0] = -100
    log_p = logits.numpy() - np.log(np.exp(logits.numpy()).sum(-1, keepdims=True))
    counted = [log_p[i][labels[i]] for i in np.ndindex(*shape[:-1]) if labels[i] != -100]
    assert cross_entropy(logits, labels).item() == pytest.approx(-np.mean(counted))
    assert cross_entropy(logits.movedim(-1, 1), labels).item() == pytest.approx(-np.mean(counted))


def test_regression_has_the_squared_error_as_its_loss() -> None:
    task = Task(evaluate=[(X, Y)], metric="mse")
    assert task.criterion is squared_error
    assert Task(evaluate=[(X, Y)]).criterion is cross_entropy
    assert squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1])).item() == 2.0


def test_a_loss_over_other_shapes_is_refused() -> None:
    with pytest.raises(DataError, match="do not fit outputs of shape"):
        squared_error(torch.zeros(2, 3), torch.zeros(3, 2))


def test_first_leaves_a_graph_whole_since_its_edges_would_lead_nowhere() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 3, 0, 1]])
    batch = Batch(args=(X, edges), labels=Y)
    assert batch.first(2) is batch
    positions = Batch(args=(X, torch.arange(3)[None]), labels=Y).first(2)
    assert positions.size == 2 and len(positions.args[1]) == 1


def test_arrays_are_inputs_too() -> None:
    x = X.numpy()
    for raw in ((x, Y), {"x": x, "labels": Y}, [x], x):
        (found,) = split_batch(raw).inputs
        assert torch.equal(found, X)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert torch.equal(split_batch((frozen, Y)).args[0], X)
    with pytest.raises(DataError, match="holds no input tensor"):
        split_batch((np.array(["a", "b"]), Y))
