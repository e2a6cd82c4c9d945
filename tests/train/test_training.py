from typing import Any

import pytest
import torch

from laconic.core.errors import UsageError
from laconic.train import Training


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, r"Training\.epochs, steps: got \(None, None\); expected exactly one"),
        ({"epochs": 1, "steps": 1}, r"Training\.epochs, steps: got \(1, 1\)"),
        ({"epochs": 0}, r"Training\.epochs: got 0"),
        ({"steps": 1.5}, r"Training\.steps: got 1\.5"),
        ({"steps": 1, "clip_norm": 0}, r"Training\.clip_norm: got 0"),
        ({"steps": 1, "clip_norm": torch.nan}, r"Training\.clip_norm: got nan"),
        ({"steps": 1, "seed": -1}, r"Training\.seed: got -1"),
        ({"steps": 1, "mixed_precision": "int8"}, r"Training\.mixed_precision: got 'int8'"),
        ({"steps": 1, "checkpoint_every": 0}, r"Training\.checkpoint_every: got 0"),
    ],
)
def test_values_outside_their_domain_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Training(**options)


def test_steps_are_taken_as_they_are_and_epochs_times_the_batches() -> None:
    assert Training(steps=7).total_steps([1, 2]) == 7
    assert Training(epochs=3).total_steps([1, 2]) == 6


def own_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


def test_a_function_is_described_by_its_name_and_not_by_its_address() -> None:
    described = Training(steps=1, optimizer=own_optimizer).describe()["optimizer"]
    assert described == f"{__name__}.own_optimizer"


def test_the_description_leaves_out_what_does_not_decide_the_outcome() -> None:
    assert Training(steps=1, checkpoint_every=1).describe() == Training(steps=1, checkpoint_every=2).describe()
    assert Training(steps=1).describe() != Training(steps=2).describe()
