import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.train.randomness import capture, restore, seed_all, undisturbed

CPU = torch.device("cpu")


def draw() -> list[float]:
    # Gaussians come in pairs of which the second is kept: that is state too.
    return [random.gauss(0, 1), float(np.random.randn()), torch.randn(()).item(), random.random(), np.random.rand()]


@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6), drawn=st.integers(0, 3))
def test_a_restored_state_draws_the_same_again(seed: int, epoch: int, drawn: int) -> None:
    with undisturbed(CPU):
        seed_all(seed, epoch)
        for _ in range(drawn):
            draw()
        state = capture(CPU)
        expected = draw()
        restore(state, CPU)
        assert draw() == expected


def test_every_state_has_the_shape_of_every_other_so_that_processes_can_exchange_them() -> None:
    with undisturbed(CPU):
        seed_all(0, 0)
        fresh = capture(CPU)
        draw()
        used = capture(CPU)
    assert {n: (t.shape, t.dtype) for n, t in fresh.items()} == {n: (t.shape, t.dtype) for n, t in used.items()}


def test_a_row_of_a_larger_tensor_can_be_restored() -> None:
    with undisturbed(CPU):
        state = capture(CPU)
        expected = draw()
        restore({name: torch.stack([tensor, tensor])[1] for name, tensor in state.items()}, CPU)
        assert draw() == expected


def test_seeds_differ_by_epoch() -> None:
    with undisturbed(CPU):
        assert len({seed_all(0, epoch) for epoch in range(50)}) == 50


def test_the_caller_s_random_state_is_given_back() -> None:
    state = capture(CPU)
    expected = draw()
    restore(state, CPU)
    with undisturbed(CPU):
        draw()
    assert draw() == expected
