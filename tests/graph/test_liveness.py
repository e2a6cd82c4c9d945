import torch
from torch import nn

from laconic.graph import capture
from laconic.graph.liveness import alive, is_tensor, shares_memory, storages
from laconic.graph.operators import name_of


class Written(nn.Module):
    def forward(self, x):
        y = x * 2
        y.view(-1)[0] = 1
        z = x * 3
        z.view(-1)[0] = 5
        return y + 1


def test_what_nobody_reads_is_dead_with_the_writes_into_it():
    graph = capture(Written(), (torch.randn(2, 2),), dynamic_batch=False).program.graph
    found = [name_of(node) for node in alive(graph, {}) if node.op == "call_function"]
    assert found.count("mul") == 1 and found.count("view") == 1 and "add" in found


def test_writes_into_what_is_taken_from_elsewhere_are_dead():
    graph = capture(Written(), (torch.randn(2, 2),), dynamic_batch=False).program.graph
    (end,) = [node for node in graph.nodes if name_of(node) == "add"]
    start = next(node for node in graph.nodes if node.name == "x")
    assert [node for node in alive(graph, {end: start}) if node.op == "call_function"] == [end]


def test_views_share_the_memory_of_what_they_show():
    graph = capture(Written(), (torch.randn(2, 2),), dynamic_batch=False).program.graph
    first = next(node for node in graph.nodes if name_of(node) == "mul")
    view = next(node for node in graph.nodes if name_of(node) == "view")
    assert storages(graph)[view] is first and shares_memory(view) and not shares_memory(first)
    assert is_tensor(view)
