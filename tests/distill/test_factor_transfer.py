import pytest
import torch
from distill_samples import randn

from laconic.core.errors import UsageError
from laconic.distill import FactorTransfer, Pair


def test_the_loss_is_the_distance_of_factors_and_what_is_lost_on_the_way_back() -> None:
    pair = Pair(student=randn(2, 3, 4, 4), teacher=randn(2, 6, 4, 4, seed=1))
    module = FactorTransfer(rate=0.5).module(pair)
    ours, theirs = module.translator(pair.student).flatten(1), module.encoder(pair.teacher)
    assert theirs.shape == (2, 3, 4, 4)
    flat = theirs.flatten(1)
    apart = (ours / ours.norm(dim=1, keepdim=True) - flat / flat.norm(dim=1, keepdim=True)).abs().mean()
    expected = apart + (module.decoder(theirs) - pair.teacher).square().mean()
    torch.testing.assert_close(module(pair), expected)


def test_the_student_does_not_move_the_paraphraser() -> None:
    teacher = randn(2, 6, 4, 4, seed=1)
    pair = Pair(student=randn(2, 3, 4, 4), teacher=teacher)
    module = FactorTransfer().module(pair)
    module(pair).backward()
    alone = [p.grad.clone() for p in module.encoder.parameters()]
    module.zero_grad()
    (module.decoder(module.encoder(teacher)) - teacher).square().mean().backward()
    for found, parameter in zip(alone, module.encoder.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in module.translator.parameters())


def test_images_of_other_sizes_are_joined_and_anything_else_is_refused() -> None:
    pair = Pair(student=randn(2, 3, 8, 8), teacher=randn(2, 6, 4, 4))
    assert FactorTransfer().module(pair)(pair).isfinite()
    with pytest.raises(UsageError, match="FactorTransfer: got features"):
        FactorTransfer().module(Pair(student=randn(2, 3), teacher=randn(2, 6)))
    with pytest.raises(UsageError, match=r"FactorTransfer\.rate: got 0"):
        FactorTransfer(rate=0)
