"""Pruning of models whose inputs change their size: graphs take any, and longer samples are cut for calibration."""

import pytest
import torch
from torch import Tensor, nn

from laconic.core.errors import DataError
from laconic.core.task import Batch, Task
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.example import captured, fitting
from laconic.prune import load_pruned, prune
from laconic.prune.importance import Magnitude


class Attends(nn.Module):
    """Learnt positions, and attention of PyTorch's own, whose width cannot be cut in its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.positions = nn.Parameter(torch.randn(1, 24, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions[:, : ids.shape[1]]
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def ids(size: int, length: int) -> Tensor:
    return torch.randint(1, 20, (size, length))


@pytest.fixture(scope="module")
def pruned():
    torch.manual_seed(0)
    task = Task(evaluate=[ids(6, 5), ids(6, 9)])
    return prune(Attends().eval(), task, ratio=0.5, importance=Magnitude(), compensate=None)


def test_a_graph_of_a_model_whose_length_changes_takes_any_length(pruned):
    assert pruned.kind == "graph"
    for length in (1, 5, 12, 24):
        assert pruned.model(ids(3, length)).shape == (3, 3)
    assert not any("one length only" in note for note in pruned.notes)


def test_a_graph_that_was_saved_takes_any_length_too(pruned, tmp_path):
    again = load_pruned(pruned.save(tmp_path / "small"), Attends())
    x = ids(2, 11)
    assert torch.equal(again.model(x), pruned.model.eval()(x))


def test_a_graph_whose_heads_are_fewer_is_fitted_like_any_other():
    task = Task(evaluate=[ids(6, 5)])
    found = prune(Attends().eval(), task, ratio=0.3, units=["heads"], importance=Magnitude())
    assert found.kind == "graph"
    assert len(found.keep["attention.in_proj_weight[0]"]) == 1


def test_a_graph_of_a_model_whose_length_is_in_its_code_says_that_it_takes_one():
    class Fixed(Attends):
        def forward(self, ids: Tensor) -> Tensor:
            return super().forward(ids) + len(list(range(ids.shape[1]))) / 10

    found = prune(Fixed().eval(), Task(evaluate=[ids(6, 5)], dynamic={"ids": {1: "length"}}), ratio=0.5)
    assert found.kind == "graph"
    assert "this graph takes one length only, that of the example." in found.notes


def test_longer_samples_are_cut_to_the_captured_length_and_shorter_ones_counted():
    task = Task(evaluate=[ids(6, 5), ids(6, 9), ids(6, 3)])
    graph = captured(Attends().eval(), task)
    with pytest.warns(UserWarning, match=r"1 of 3 batches do not fit the captured model"):
        found = fitting(graph, list(task.batches("calibrate")))
    assert [batch.inputs[0].shape for batch in found] == [(6, 5), (6, 5)]


def test_samples_of_which_only_padding_would_be_left_go():
    left = torch.tensor([[0, 0, 0, 4], [0, 5, 6, 7], [1, 2, 3, 4]])
    graph = captured(Attends().eval(), Task(evaluate=[ids(4, 3), left]))
    (kept,) = fitting(graph, [Batch(args=(left,))])
    assert kept.inputs[0].tolist() == [[0, 5, 6], [1, 2, 3]]


def test_without_a_task_that_says_so_nothing_is_cut():
    graph = captured(Attends().eval(), ids(4, 3))
    with pytest.raises(DataError, match="1 of 1 batches do not fit"):
        fitting(graph, [Batch(args=(ids(4, 5),))])


def test_a_table_that_is_cut_to_the_length_keeps_its_rows():
    graph = capture(Attends().eval(), (ids(4, 5),), sizes={0: {1: "length"}})
    assert graph.dynamic_sizes
    assert all(axis.size > 0 for axis in axes(graph))
    assert not any(part.tensor == "positions" and part.dim == 1 for axis in axes(graph) for part in axis.slices)
