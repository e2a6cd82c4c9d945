import pytest
import torch
from distill_samples import randn
from torch.nn.functional import normalize

from laconic.core.errors import UsageError
from laconic.distill.memory import Memory


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(randn(1, count, 3, seed=seed), dim=-1)


def test_a_sample_is_found_again_by_its_key_in_any_order() -> None:
    memory, now = Memory(5, 3, sides=1), vectors(3)
    first = memory.slots(torch.tensor([30, -7, 12]), now)
    again = memory.slots(torch.tensor([12, 30, 99]), vectors(3, seed=1))
    assert again[:2].tolist() == [first[2], first[0]]
    torch.testing.assert_close(memory.entries[:, first], now)
    assert memory.held == 4


def test_an_entry_moves_by_the_momentum_and_keeps_length_one() -> None:
    memory = Memory(5, 2, sides=1)
    slots = memory.slots(torch.tensor([1]), torch.tensor([[[1.0, 0.0]]]))
    memory.move(slots, torch.tensor([[[0.0, 1.0]]]), 0.75)
    torch.testing.assert_close(memory.entries[0, slots], torch.tensor([[3.0, 1.0]]) / 10**0.5)


def test_the_oldest_make_room_and_samples_of_one_batch_all_stay() -> None:
    memory = Memory(3, 3, sides=1)
    memory.slots(torch.tensor([1, 2, 3]), vectors(3))
    memory.slots(torch.tensor([4]), vectors(1))
    assert sorted(memory.keys.tolist()) == [2, 3, 4]
    # 2 is the oldest and would make room for 5, but it is in the batch.
    slots = memory.slots(torch.tensor([5, 2]), vectors(2))
    assert memory.keys[slots].tolist() == [5, 2]


def test_a_sample_twice_in_a_batch_has_one_slot() -> None:
    slots = Memory(3, 3, sides=1).slots(torch.tensor([4, 4]), vectors(2))
    assert slots[0] == slots[1]


def test_only_samples_that_are_there_are_drawn() -> None:
    memory = Memory(100, 3, sides=1)
    memory.slots(torch.tensor([8, 9]), vectors(2))
    assert memory.drawn(50).unique().tolist() == [0, 1]


def test_a_memory_that_is_saved_and_loaded_finds_its_samples() -> None:
    memory, other = Memory(4, 3, sides=1), Memory(4, 3, sides=1)
    slots = memory.slots(torch.tensor([9, 3]), vectors(2))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.slots(torch.tensor([9, 3]), vectors(2, seed=1)), slots)
    assert torch.equal(other.entries, memory.entries)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Memory\.samples: got 1; expected at least a batch, which has 2"):
        Memory(1, 3, sides=1).slots(torch.tensor([1, 2]), vectors(2))
