import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from laconic.core.task import Batch
from laconic.train.feed import share


@given(size=st.integers(1, 9), processes=st.integers(1, 5), left_out=st.integers(0, 3), seed=st.integers(0, 1000))
def test_the_mean_of_the_weighted_losses_of_all_shares_is_the_loss_of_the_batch(
    size: int, processes: int, left_out: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, 3, generator=generator).double()
    labels = torch.randint(0, 3, (size,), generator=generator)
    labels[: min(left_out, size - 1)] = -100
    total = 0.0
    for rank in range(processes):
        mine, weight = share(Batch(args=(logits,), labels=labels), rank, processes)
        if weight > 0:
            total += weight * cross_entropy(mine.args[0], mine.labels, reduction="mean").item() / processes
    assert total == pytest.approx(cross_entropy(logits, labels).item())


def test_named_inputs_are_shared_and_what_is_no_tensor_goes_to_all() -> None:
    batch = Batch(kwargs={"x": torch.arange(4), "causal": True})
    mine, weight = share(batch, 1, 2)
    assert (mine.kwargs["x"].tolist(), mine.kwargs["causal"], mine.labels, weight) == ([2, 3], True, None, 1)


def test_a_process_without_a_sample_takes_one_that_does_not_count() -> None:
    mine, weight = share(Batch(args=(torch.ones(1, 2),)), 0, 2)
    assert (mine.size, weight) == (1, 0)
