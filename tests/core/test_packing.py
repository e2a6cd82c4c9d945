"""Plans in the fewest bytes."""

import torch

from core.samples import every_edit, net, sample_codings, symmetric
from laconic.core.codings import Dense, Sparse, Zipped
from laconic.core.edit import Recode
from laconic.core.packing import pack, unzipped
from laconic.core.plan import Plan

WEIGHT = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))


def test_every_coding_decodes_to_the_same_bits_and_is_not_larger() -> None:
    plan = Plan.of(Recode(name, coding) for name, coding in sample_codings().items())
    packed = pack(plan)
    assert packed.size_bytes <= plan.size_bytes
    for before, after in zip(plan.recodes, packed.recodes, strict=True):
        assert torch.equal(before.coding.decode().view(torch.int32), after.coding.decode().view(torch.int32))


def test_codes_of_a_bell_shape_take_about_their_entropy() -> None:
    grid = symmetric(WEIGHT, 5, None)
    counts = grid.integers().flatten().long().add(16).bincount().double()
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * shares.log2()).sum()) * WEIGHT.numel() / 8
    packed = pack(Plan.of([Recode("w", grid)])).recodes[0].coding
    assert entropy < packed.size_bytes < 1.04 * entropy + 100
    assert packed.size_bytes < 0.9 * grid.size_bytes


def test_what_would_not_become_smaller_stays_as_it_is() -> None:
    plan = Plan.of([Recode("w", Dense.of(WEIGHT[:1, :4]))])
    assert pack(plan) == plan


def test_other_edits_stay_and_packing_again_changes_nothing() -> None:
    plan = every_edit(net()) + Plan.of([Recode("w", Dense.of(torch.zeros(99, 99)))])
    packed = pack(plan)
    assert [edit.kind for edit in packed] == [edit.kind for edit in plan]
    assert isinstance(packed.recodes[-1].coding, Zipped)
    assert pack(packed) == packed
    assert unzipped(packed.recodes[-1]) == plan.recodes[-1]


def test_masks_inside_shrink(tmp_path: object) -> None:
    sparse = Sparse.of(WEIGHT, WEIGHT.abs() > 0.9, inner=symmetric(WEIGHT, 8, None))
    plan = pack(Plan.of([Recode("w", sparse)]))
    assert plan.recodes[0].coding.size_bytes < sparse.size_bytes
    plan.save(str(tmp_path))
    assert Plan.load(str(tmp_path)) == plan
