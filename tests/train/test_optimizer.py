import pytest
import torch
from torch import nn

from laconic.core.errors import UsageError
from laconic.train import SGD, AdamW


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_matrices_decay_and_biases_do_not(kind: type[AdamW]) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    groups = kind(learning_rate=0.3, weight_decay=0.1)(model).param_groups
    assert [(g["weight_decay"], g["lr"], [p.dim() for p in g["params"]]) for g in groups] == [
        (0.1, 0.3, [2]),
        (0.0, 0.3, [1, 1, 1]),
    ]


def test_the_options_reach_the_optimizer() -> None:
    group = SGD(momentum=0.7, nesterov=True)(nn.Linear(2, 2)).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.7, True)
    assert AdamW(betas=(0.8, 0.9))(nn.Linear(2, 2)).param_groups[0]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_frozen_parameters_are_left_out(kind: type[AdamW]) -> None:
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    (group,) = kind()(model).param_groups
    assert group["params"] == [model.bias]


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_values_outside_their_domain_are_refused(kind: type[AdamW]) -> None:
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.learning_rate: got 0"):
        kind(learning_rate=0)
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.weight_decay: got -1"):
        kind(weight_decay=-1)
    with pytest.raises(UsageError, match=rf"{kind.__name__}\.learning_rate: got nan"):
        kind(learning_rate=torch.nan)
