import torch
from torch import nn
from torch.nn import functional

import laconic
from laconic.graph.axes import axes
from laconic.prune.choice import Candidates, choose
from laconic.prune.importance import Removal
from laconic.prune.limits import Limits, Rounding
from laconic.prune.savings import Savings
from laconic.prune.shared_widths import shared_widths


class Attention(nn.Module):
    """Queries and keys of one width, values of another: the code has one number, or two, for them."""

    def __init__(self, *, rotary=False, value_dim=None):
        super().__init__()
        self.heads, self.head_dim, self.rotary = 2, 8, rotary
        if value_dim is not None:
            self.value_dim = value_dim
        self.q, self.k, self.v = nn.Linear(6, 16), nn.Linear(6, 16), nn.Linear(6, 2 * (value_dim or 8))
        self.o = nn.Linear(2 * (value_dim or 8), 6)

    def forward(self, x):
        q, k = (self.turned(layer(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)) for layer in (self.q, self.k))
        v = self.v(x).unflatten(-1, (-1, getattr(self, "value_dim", self.head_dim))).transpose(1, 2)
        return self.o(functional.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2))

    def turned(self, y):
        if not self.rotary:
            return y
        first, second = y.chunk(2, dim=-1)
        return torch.cat([first * 0.6 - second * 0.8, second * 0.6 + first * 0.8], dim=-1)


def locked(model):
    found = axes(model, torch.randn(2, 5, 6))
    return found, shared_widths(model, found, tuple(found))


def names(sets):
    return [sorted((axis.slices[0].tensor, times) for axis, times in together.items()) for together in sets]


def test_keys_and_values_of_one_number_are_locked():
    assert names(locked(Attention())[1]) == [[("q.weight", 1), ("v.weight", 1)]]


def test_half_of_a_rotation_counts_twice():
    assert names(locked(Attention(rotary=True))[1]) == [[("q.weight", 2), ("v.weight", 1)]]


def test_widths_with_numbers_of_their_own_are_free():
    assert locked(Attention(value_dim=4))[1] == ()


def test_width_that_has_to_stay_locks_nothing():
    model = Attention()
    found, _ = locked(model)
    free = [axis for axis in found if axis.slices[0].tensor != "v.weight"]
    assert shared_widths(model, found, free) == ()


def test_attention_with_one_number_for_its_widths_stays_the_users_own():
    torch.manual_seed(0)
    for rotary in (False, True):
        pruned = laconic.prune(Attention(rotary=rotary), torch.randn(2, 5, 6), ratio=0.4, units=["head width"])
        assert pruned.kind == "module" and type(pruned.model) is Attention
        assert pruned.model.head_dim == pruned.model.v.out_features // 2 == pruned.model.q.out_features // 2 < 8


def test_locked_axes_pass_through_sizes_that_all_may_have():
    found, sets = locked(Attention(rotary=True))
    removals = {axis: Removal.by(torch.arange(1.0, 1 + axis.size)) for axis in found}
    limits = Limits(rounding=Rounding(multiple=3))
    given = Candidates(removals=removals, savings=Savings(found, "slices"), limits=limits, locked=sets)
    (together,) = sets
    assert sorted(given.smaller(together, {}).values()) == [3, 6]
    assert given.smaller(together, given.smaller(together, {})) is None
    prices = given.price_of(together, {}, given.smaller(together, {}))
    assert prices == 1 + (1 + 2)
    for scope in ("global", "layer", "kind"):
        sizes = choose(given, 0.3, scope)
        assert [sizes.get(axis.atom, axis.size) * times for axis, times in together.items()] in ([8, 8], [6, 6])
