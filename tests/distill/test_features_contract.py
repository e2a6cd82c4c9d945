"""What every loss on features promises."""

import pytest
import torch
from distill_samples import randn
from torch import Tensor

from laconic.distill import (
    FEATURES,
    ActivationBoundaries,
    AttendedLayers,
    AttentionMaps,
    AttentionTransfer,
    ChannelCorrelation,
    ChannelDistributions,
    Contrastive,
    ContrastiveMemory,
    CorrelationCongruence,
    CosineFeatures,
    FactorTransfer,
    FeatureLoss,
    Flow,
    Gram,
    LearnedLoss,
    LogarithmicFeatures,
    Match,
    Matched,
    NeuronSelectivity,
    Pair,
    PositionAffinity,
    ProbabilisticTransfer,
    RelationalAngle,
    RelationalDistance,
    Review,
    SameFeatures,
    SimilarityPreserving,
    ValueRelations,
    Variational,
)

Loss = FeatureLoss | LearnedLoss
SHAPES = {ValueRelations: (6, 5, 4), AttentionMaps: (6, 2, 3, 3), CosineFeatures: (6, 5, 4)}
MAPS = (AttentionTransfer, Gram, Flow, NeuronSelectivity, ChannelDistributions, PositionAffinity, ChannelCorrelation)
CHANNELS = (*MAPS, Variational, AttendedLayers, LogarithmicFeatures)
"""Those that can be told where the channels are."""
SAMPLES = (
    SimilarityPreserving,
    RelationalDistance,
    RelationalAngle,
    CorrelationCongruence,
    ProbabilisticTransfer,
    Contrastive,
    ContrastiveMemory,
)
NEVER_ZERO = (
    Variational,
    Contrastive,
    ContrastiveMemory,
    Review,
    ActivationBoundaries,
    LogarithmicFeatures,
    FactorTransfer,
)
OVER_THE_BATCH = (Review, AttendedLayers, LogarithmicFeatures)
"""Batch normalisation, logarithms, and errors over the mean square of a batch."""


SMALL = {ContrastiveMemory: {"samples": 32, "negatives": 64}}


def features(kind: type[Loss], seed: int = 0, samples: int = 6) -> Tensor:
    found = randn(*SHAPES.get(kind, (6, 3, 4, 4)), seed=seed, scale=1.0)[:samples]
    return found.softmax(-1) if kind is AttentionMaps else found


def loss_of(kind: type[Loss], student: Tensor, teacher: Tensor) -> Tensor:
    pair = Pair(student=student, teacher=teacher, samples=torch.arange(len(student)))
    return compared(kind(**SMALL.get(kind, {})), pair)


def compared(loss: Loss, pair: Pair) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = loss.module(pair)(pair) if isinstance(loss, LearnedLoss) else loss.distance(pair)
    assert found.dim() == 0
    return found


def gradient(kind: type[Loss], student: Tensor, teacher: Tensor) -> Tensor:
    student = student.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss_of(kind, student, teacher), student)
    return found


@pytest.mark.parametrize("kind", [kind for kind in FEATURES if kind not in NEVER_ZERO])
def test_a_student_that_is_like_the_teacher_has_no_distance_and_no_gradient(kind: type[Loss]) -> None:
    teacher = features(kind)
    assert abs(loss_of(kind, teacher, teacher).item()) < 1e-6
    assert gradient(kind, teacher, teacher).abs().max() < 1e-5


def test_a_student_that_is_like_the_teacher_has_no_gradient_of_a_likelihood() -> None:
    teacher = features(Variational)
    assert gradient(Variational, teacher, teacher).abs().max() == 0


@pytest.mark.parametrize("kind", FEATURES)
def test_another_student_has_a_finite_gradient_that_is_not_zero_and_the_teacher_gets_none(kind: type[Loss]) -> None:
    student, teacher = features(kind).requires_grad_(), features(kind, seed=1).requires_grad_()
    loss = loss_of(kind, student, teacher)
    (found,) = torch.autograd.grad(loss, student)
    assert loss > 0
    assert found.isfinite().all()
    assert found.abs().max() > 0
    assert not torch.autograd.grad(loss_of(kind, student, teacher), teacher, allow_unused=True)[0]


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("dead", ["all", "one sample", "one channel", "the same sample twice"])
def test_dead_features_and_samples_that_are_alike_give_finite_gradients(kind: type[Loss], dead: str) -> None:
    student, teacher = features(kind), features(kind, seed=1)
    if dead == "all":
        student = torch.zeros_like(student)
    elif dead == "one sample":
        student[0] = 0
    elif dead == "one channel":
        student[:, 0] = 0
    else:
        student[1], teacher[1] = student[0], teacher[0]
    found = gradient(kind, student, teacher)
    assert found.isfinite().all()
    assert found.abs().max() < 1e4


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_float32(kind: type[Loss], dtype: torch.dtype) -> None:
    student, teacher = features(kind).to(dtype), features(kind, seed=1).to(dtype)
    assert loss_of(kind, student, teacher) == loss_of(kind, student.float(), teacher.float())


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("samples", [1, 2])
def test_a_batch_of_one_or_two_is_defined(kind: type[Loss], samples: int) -> None:
    student, teacher = features(kind, samples=samples), features(kind, seed=1, samples=samples)
    assert loss_of(kind, student, teacher).isfinite()
    assert gradient(kind, student, teacher).isfinite().all()


@pytest.mark.parametrize("kind", SAMPLES)
def test_losses_between_samples_take_layers_of_any_shape(kind: type[Loss]) -> None:
    assert loss_of(kind, randn(6, 3, 4, 4), randn(6, 7)) > 0


@pytest.mark.parametrize("kind", [kind for kind in FEATURES if kind not in (*SAMPLES, *OVER_THE_BATCH)])
def test_the_other_losses_are_means_over_samples(kind: type[Loss]) -> None:
    student, teacher = features(kind), features(kind, seed=1)
    alone = [loss_of(kind, s[None], t[None]) for s, t in zip(student, teacher, strict=True)]
    torch.testing.assert_close(loss_of(kind, student, teacher), torch.stack(alone).mean())


@pytest.mark.parametrize("kind", CHANNELS)
def test_channels_may_be_last(kind: type[Loss]) -> None:
    student, teacher = randn(2, 3, 5), randn(2, 3, 5, seed=1)
    first = compared(kind(), Pair(student=student, teacher=teacher))
    last = compared(kind(channel_axis=-1), Pair(student=student.mT, teacher=teacher.mT))
    torch.testing.assert_close(first, last)


@pytest.mark.parametrize("kind", [*CHANNELS, SameFeatures, ActivationBoundaries, CosineFeatures, ValueRelations])
def test_neither_what_stands_in_padding_nor_its_length_changes_anything(kind: type[Loss]) -> None:
    loss = kind(channel_axis=-1) if kind in CHANNELS else kind()
    mask = torch.arange(7) < torch.tensor([5, 3, 2])[:, None]
    found = []
    for length, seed in ((5, 0), (7, 7)):
        student, teacher = randn(3, 7, 4)[:, :length], randn(3, 7, 4, seed=1)[:, :length]
        padding = randn(3, length, 4, seed=seed)
        student, teacher = (x.where(mask[:, :length, None], padding) for x in (student, teacher))
        found.append(compared(loss, Pair(student=student, teacher=teacher, mask=mask[:, :length])))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("kind", [kind for kind in FEATURES if issubclass(kind, LearnedLoss)])
def test_models_in_double_precision_are_compared_in_it(kind: type[Loss]) -> None:
    loss = kind(**SMALL.get(kind, {}))
    pair = Pair(student=features(kind).double(), teacher=features(kind, seed=1).double(), samples=torch.arange(6))
    match = Match(teacher="one", student="other", loss=loss)
    (distance,) = Matched([match], [pair])([pair], 0.0).values()
    assert distance.dtype == torch.float64 and distance.isfinite()


@pytest.mark.parametrize("kind", FEATURES)
def test_a_loss_is_a_value_that_can_be_compared_and_shown(kind: type[Loss]) -> None:
    assert kind() == kind()
    assert repr(kind()).startswith(f"{kind.__name__}(")
