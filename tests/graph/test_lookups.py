import torch
from torch import nn
from torch.nn import functional

from laconic.graph import capture
from laconic.graph.lookups import constants_compared, lookups


class Many(nn.Module):
    def __init__(self):
        super().__init__()
        self.word, self.place = nn.Embedding(20, 4, padding_idx=3), nn.Embedding(8, 4)
        self.bias, self.bag = nn.Parameter(torch.zeros(20)), nn.EmbeddingBag(20, 4)
        self.register_buffer("counts", torch.ones(20, 2))

    def forward(self, x, ids):
        kinds = ids.to(torch.int64)[:, :3]
        found = self.word(kinds.contiguous()) + self.place(torch.arange(3))
        one_hot = functional.one_hot(ids, 20).sum()
        mask = (ids.unsqueeze(-1) != 7) & (x > 0.5)[:, None]
        picked = self.bias[ids].sum() + self.counts.index_select(0, ids[0]).sum() + self.bag(ids).sum()
        return found.sum() + one_hot + mask.sum() + picked + self.word((x > 0).long()).sum()


def test_tables_are_found_with_the_input_that_indexes_them_or_none():
    graph = capture(Many(), (torch.randn(2, 4), torch.zeros(2, 4, dtype=torch.int64)))
    found = [(lookup.table, lookup.rows, lookup.source, lookup.padding) for lookup in lookups(graph)]
    assert found == [
        ("word.weight", 20, 1, 3),
        ("place.weight", 8, None, None),
        ("bias", 20, 1, None),
        ("counts", 20, 1, None),
        ("bag.weight", 20, 1, None),
        ("word.weight", 20, None, 3),
    ]
    assert constants_compared(graph, 1) == {7} and constants_compared(graph, 0) == {0}


def test_a_network_without_tables_has_none():
    assert lookups(capture(nn.Linear(3, 2), (torch.zeros(4, 3),))) == ()
