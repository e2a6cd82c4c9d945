"""The state of everything random, as tensors of fixed shape; the one place where global seeds are touched."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def seed_all(*entropy: int) -> int:
    """Seeds Python, NumPy and torch (all devices) from numbers, such as a seed and an epoch; returns their seed."""
    mixed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
    return mixed


def capture(device: torch.device) -> dict[str, Tensor]:
    """Returns the state of the generators of Python, NumPy, torch and the device."""
    _, python, python_gauss = random.getstate()
    _, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(python),
        "python_gauss": torch.tensor([torch.nan if python_gauss is None else python_gauss], dtype=torch.float64),
        "numpy": torch.tensor([*map(int, keys), int(position)]),
        "numpy_gauss": torch.tensor([has_gauss, gauss], dtype=torch.float64),
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state()
    return state


def restore(state: dict[str, Tensor], device: torch.device) -> None:
    """Puts the generators back into a state that `capture` returned."""
    # torch 2.13 reads a view from the start of its storage: a row of a larger tensor ends the process. Hence the clone.
    torch.set_rng_state(state["torch"].clone())
    gauss = state["python_gauss"].item()
    random.setstate((3, tuple(state["python"].tolist()), None if gauss != gauss else gauss))
    *keys, position = state["numpy"].tolist()
    has_gauss, numpy_gauss = state["numpy_gauss"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, int(has_gauss), numpy_gauss))
    if "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"].clone())


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Gives the caller's random state back afterwards."""
    before = capture(device)
    try:
        yield
    finally:
        restore(before, device)
