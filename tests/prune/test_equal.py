import torch
from torch import nn

import laconic


def stack(width: int = 16, blocks: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    inner = [nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 8)) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(4, 8), *inner, nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3))


def zero_half(up: nn.Linear, down: nn.Linear) -> None:
    """Half of the neurons between two layers do nothing."""
    for tensor in (up.weight, up.bias, down.weight.T):
        tensor[: up.out_features // 2] = 0


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def widths(small: laconic.Pruned) -> list[int]:
    return [small.model[i][0].out_features for i in (1, 2, 3)]


def test_alike_layers_keep_equally_many_and_the_ratio_is_reached() -> None:
    model = stack()
    with torch.no_grad():
        for i in (2, 3):  # Ranked one by one, these neurons would go, and none of the first layer's.
            zero_half(model[i][0], model[i][2])
    others = ("0.*", "4.*", "6.*")
    small = laconic.prune(model, X, ratio=0.4, scope="equal", keep=others)
    assert len(set(widths(small))) == 1 and widths(small)[0] < 16
    assert abs(small.macs_ratio - 0.6) < 0.03
    assert widths(laconic.prune(model, X, ratio=0.4, keep=others))[0] == 16


def test_cheapest_set_shrinks_first() -> None:
    model = stack()
    with torch.no_grad():
        zero_half(model[4], model[6])
    small = laconic.prune(model, X, ratio=0.1, scope="equal")
    assert widths(small) == [16, 16, 16] and small.model[4].out_features < 24


def test_an_axis_that_has_to_stay_holds_those_like_it() -> None:
    small = laconic.prune(stack(), X, ratio=0.9, scope="equal", least=0.75)
    assert widths(small) == [12, 12, 12] and small.model[4].out_features == 18


def test_sizes_are_multiples() -> None:
    small = laconic.prune(stack(), X, ratio=0.3, scope="equal", round_to=4)
    assert all(len(kept) % 4 == 0 for kept in small.keep.values()) and len(set(widths(small))) == 1
