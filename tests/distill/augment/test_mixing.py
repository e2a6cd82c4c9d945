import pytest
import torch

from laconic.core.errors import UsageError
from laconic.core.task import Batch
from laconic.distill.augment import CutMix, Mixup
from laconic.distill.augment.mixing import share_of


def images(samples=6):
    """Each image is of one value, its number."""
    return torch.arange(1.0, samples + 1).view(-1, 1, 1, 1).expand(-1, 2, 8, 8).clone()


def test_every_image_of_a_mixture_has_one_share_of_itself_and_the_rest_of_one_other():
    x = images()
    found = Mixup()(Batch(args=(x,), labels=torch.arange(6)))
    torch.manual_seed(0)
    share, order = share_of(1.0), torch.randperm(6)
    torch.manual_seed(0)
    again = Mixup()(Batch(args=(x,)))
    torch.testing.assert_close(again.args[0], share * x + (1 - share) * x[order])
    assert found.labels is None and torch.equal(x, images())


def test_shares_are_those_of_the_beta_distribution():
    for alpha in (0.3, 1.0, 5.0):
        shares = torch.tensor([share_of(alpha) for _ in range(4000)])
        assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
        assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)  # The variance of Beta(a, a).


def test_ids_are_not_mixed():
    ids = torch.arange(12).view(4, 3)
    batch = Batch(kwargs={"input_ids": ids, "pixels": torch.rand(4, 3, 2, 2), "scale": torch.tensor(2.0)})
    found = Mixup()(batch)
    assert found.kwargs["input_ids"] is ids and found.kwargs["scale"] == 2
    assert not torch.equal(found.kwargs["pixels"], batch.kwargs["pixels"])


def test_a_rectangle_of_another_image_is_put_in_and_nothing_else_changes():
    areas = []
    for _ in range(200):
        x = images()
        found = CutMix()(Batch(args=(x,))).args[0]
        changed = (found != x).any(1)
        rows, columns = changed.any(0).any(1).nonzero(), changed.any(0).any(0).nonzero()
        if len(rows):
            box = found[:, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert all(len(image.unique()) == 1 for image in box)
        areas.append(changed.any(0).float().mean().item())
    assert 0.2 < sum(areas) / 200 < 0.5  # Half of it, less what falls outside.


def test_what_is_no_image_is_left_as_it_is_by_cutmix():
    x = torch.rand(4, 3)
    assert CutMix()(Batch(args=(x,))).args[0] is x


def test_alpha_must_be_positive():
    for kind in (Mixup, CutMix):
        with pytest.raises(UsageError, match=rf"{kind.__name__}\.alpha: got 0"):
            kind(alpha=0)
