"""Sizes of inputs that change from call to call: found in the data, or named."""

import pytest
import torch
from torch import Tensor, nn

from laconic.core.errors import DataError, UsageError
from laconic.core.task import Batch, Task
from laconic.graph import capture, costs
from laconic.graph.fixed import resized
from laconic.graph.sizes import sizes_of, with_sizes


class Pair(nn.Module):
    def forward(self, text: Tensor, sound: Tensor) -> Tensor:
        return text.mean(1) + sound.mean((1, 2))


def pair(length: int, frames: int) -> Batch:
    return Batch(args=(torch.zeros(2, length), torch.zeros(2, 5, frames)))


def found(task: Task) -> dict[int, dict[int, str]]:
    return sizes_of(Pair(), task, next(task.batches("evaluate")))


def test_sizes_that_change_together_have_one_name():
    assert found(Task(evaluate=[pair(3, 3), pair(4, 4)])) == {0: {1: "length"}, 1: {2: "length"}}


def test_sizes_that_change_apart_are_named_after_their_inputs():
    assert found(Task(evaluate=[pair(3, 3), pair(4, 3), pair(4, 7)])) == {
        0: {1: "text_length"},
        1: {2: "sound_length"},
    }


def test_calibration_data_is_looked_at_too_and_the_batch_does_not_count():
    assert found(Task(evaluate=[pair(3, 3)], calibrate=[pair(3, 8)])) == {1: {2: "length"}}
    assert found(Task(evaluate=[pair(3, 3), pair(3, 3)])) == {}


def test_an_image_has_a_height_and_a_width():
    batches = [torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 6, 5), torch.zeros(1, 3, 6, 7)]
    task = Task(evaluate=batches)
    assert sizes_of(nn.ReLU(), task, Batch(args=(batches[0],))) == {0: {2: "height", 3: "width"}}


def test_what_is_named_counts_whatever_batches_do():
    batches = [pair(3, 3), pair(4, 4)]
    assert found(Task(evaluate=batches, dynamic={})) == {}
    assert found(Task(evaluate=batches, dynamic={"sound": {-1: "frames"}})) == {1: {2: "frames"}}


def test_what_was_found_is_written_down():
    task = with_sizes(Pair(), Task(evaluate=[pair(3, 3), pair(4, 3)]))
    assert task.dynamic == {"text": {1: "length"}}


@pytest.mark.parametrize(
    ("dynamic", "said"),
    [
        ({"txt": {1: "n"}}, r"Task.dynamic: got 'txt'; expected an input of the model: text, sound"),
        ({"text": {2: "n"}}, r"Task.dynamic\['text'\]: got 2; expected a dimension from 1 to 1"),
        ({"text": {-2: "n"}}, r"Task.dynamic\['text'\]: got -2; expected a dimension from 1 to 1"),
    ],
)
def test_an_input_or_a_dimension_that_there_is_not_is_one_clear_line(dynamic, said):
    with pytest.raises(UsageError, match=said):
        found(Task(evaluate=[pair(3, 3)], dynamic=dynamic))


@pytest.mark.parametrize("dynamic", [["text"], {"text": 1}, {"text": {1: "not a name"}}, {"text": {"1": "n"}}])
def test_what_names_no_dimensions_is_refused_with_what_to_write(dynamic):
    with pytest.raises(UsageError, match=r"Task.dynamic: .* write \{'ids': \{1: 'length'\}\}"):
        Task(evaluate=[pair(3, 3)], dynamic=dynamic)


@pytest.mark.parametrize("dims", [{0: "n"}, {1: "batch"}])
def test_the_batch_needs_no_name(dims):
    with pytest.raises(UsageError, match="Dimension 0 is the batch, and takes any size"):
        Task(evaluate=[pair(3, 3)], dynamic={"text": dims})


def test_batches_with_other_numbers_of_dimensions_are_one_clear_line():
    task = Task(evaluate=[torch.zeros(2, 4), torch.zeros(2, 4, 1)])
    with pytest.raises(DataError, match=r"Task.evaluate: got a batch whose inputs have 3 dimensions after one of 2;"):
        sizes_of(nn.ReLU(), task, Batch(args=(torch.zeros(2, 4),)))


def test_a_graph_takes_the_sizes_that_it_can_and_says_which():
    class Half(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x.sum(1) + (y @ torch.ones(4, 1)).squeeze(1)

    sizes = {0: {1: "long"}, 1: {1: "short"}}
    graph = capture(Half(), (torch.zeros(3, 5),), {"y": torch.zeros(3, 4)}, sizes=sizes)
    assert {i: list(dims) for i, dims in graph.dynamic_sizes.items()} == {0: [1]}
    assert list(graph.size_symbols.values()) == [5]
    assert graph.dynamic_batch
    assert graph.program.module()(torch.ones(2, 9), y=torch.zeros(2, 4)).tolist() == [9, 9]


def test_named_inputs_in_another_order_keep_their_sizes():
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x.sum(1) + (y @ torch.ones(4, 1)).squeeze(1)

    inputs = {"y": torch.zeros(3, 4), "x": torch.zeros(3, 5)}
    graph = capture(Two(), (), inputs, sizes={0: {1: "short"}, 1: {1: "long"}})
    assert {i: list(dims) for i, dims in graph.dynamic_sizes.items()} == {1: [1]}


def test_a_length_of_one_in_the_example_is_no_constant():
    graph = capture(nn.Linear(3, 2), (torch.zeros(1, 1, 3),), sizes={0: {1: "length"}})
    assert list(graph.dynamic_sizes) == [0]


def test_costs_are_those_of_the_example_s_length():
    args = (torch.zeros(4, 7, 3),)
    any_length = capture(nn.Linear(3, 2), args, sizes={0: {1: "length"}})
    assert any_length.dynamic_sizes
    assert costs(any_length).macs == costs(capture(nn.Linear(3, 2), args)).macs == 7 * 6


def test_inputs_are_cut_to_half_or_repeated():
    x, y = torch.arange(6).reshape(1, 6), torch.arange(3).reshape(1, 3)
    sizes = {0: {1: "a"}, 1: {1: "b"}}
    longer, shorter = resized((x, y), sizes, {"a": 2, "b": 0.5})
    assert longer.tolist() == [[*range(6), *range(6)]]
    assert shorter.tolist() == [[0, 1]]
    assert resized((x,), sizes | {1: {}}, {})[0].tolist() == x.tolist()
