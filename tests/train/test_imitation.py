import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_samples import HINT, data, network, plain_network, same_weights, task_of

from laconic.core.errors import DataError, TrainingError, UsageError
from laconic.distill import (
    FEATURES,
    AttentionMaps,
    Contrastive,
    CosineFeatures,
    DistillationLoss,
    FeatureLoss,
    Lesson,
    Match,
    Pair,
    Ramp,
    SameFeatures,
    SameLogits,
    SimilarityPreserving,
    SoftLabels,
    ValueRelations,
    Variational,
)
from laconic.train import SGD, AdamW, Training, distill, distillation, train


def narrow(seed: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def test_one_step_is_the_hand_written_step_with_the_projection_trained_along() -> None:
    (x, y), teacher, student = data(1)[0], plain_network(1), narrow()
    expected = copy.deepcopy(student)
    objective = distillation(teacher, task_of([(x, y)]), SoftLabels(), [HINT])
    torch.manual_seed(int(torch.randint(99, ())))  # Whatever the caller's seed, the projection is the same.
    optimizer = SGD(learning_rate=0.5, momentum=0)
    train(student, task_of([(x, y)]), Training(steps=1, optimizer=optimizer, clip_norm=None), objective=objective)

    projection = seeded_projection()
    soft = nn.functional.kl_div((expected(x) / 2).log_softmax(-1), (teacher(x) / 2).softmax(-1), reduction="batchmean")
    hint = nn.functional.mse_loss(projection(expected[:1](x)), teacher[:2](x).detach())
    (4 * soft + 2 * hint).backward()
    rate = 0.5 * Training(steps=1).schedule(0, 1)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter -= rate * parameter.grad
    for ours, theirs in zip(student.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def seeded_projection() -> nn.Linear:
    from laconic.train import randomness

    with randomness.undisturbed(torch.device("cpu")):
        randomness.seed_all(0, 0)
        return nn.Linear(4, 8)


def test_features_come_closer_than_without_the_match_and_nothing_is_left_on_the_models() -> None:
    task, teacher = task_of([x for x, _ in data(8)]), plain_network(1)
    before, x = copy.deepcopy(teacher), data(1)[0][0]

    def distance(match: list[Match]) -> float:
        student = plain_network(2)
        names = [name for name, _ in student.named_parameters()]
        distill(teacher, student, task, match=match, training=Training(epochs=20, optimizer=AdamW(learning_rate=0.02)))
        assert [name for name, _ in student.named_parameters()] == names
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in (*student.modules(), *teacher.modules()))
        with torch.no_grad():
            return float((student[0](x) - teacher[0](x)).square().mean())

    assert distance([Match(teacher="0", student="0", loss=SameFeatures())]) < distance([]) / 10
    assert same_weights(teacher, before)


def test_projections_are_trained() -> None:
    seen: list[Tensor] = []

    class Spy(DistillationLoss):
        def terms(self, lesson: Lesson) -> dict[str, Tensor]:
            return {"zero": 0 * lesson.student.sum()}

    task, teacher, student = task_of(data()), plain_network(1), narrow()
    student.requires_grad_(False)[2].requires_grad_()
    train(
        student,
        task,
        Training(steps=60, optimizer=AdamW(learning_rate=0.05)),
        objective=distillation(teacher, task, Spy(), [HINT]),
        progress=lambda step, total, loss: seen.append(loss),
    )
    assert seen[-1] < seen[0] / 1.5


def test_a_run_with_projections_that_stops_and_resumes_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(step: int, total: int, loss: float) -> None:
        if step == 5:
            raise StoppedError

    balanced = Match(teacher="0", student="0", loss=SameFeatures(), projection="linear", balance=True)
    scheduled = Match(teacher="1", student="1", loss=SameFeatures(), projection="linear", schedule=Ramp())
    options: dict[str, Any] = {
        "match": [balanced, scheduled],
        "training": Training(steps=9, checkpoint_every=2, optimizer=AdamW(learning_rate=0.05)),
    }
    task, teacher = task_of(data()), plain_network(1)
    whole = distill(teacher, narrow(), task, **options)
    with pytest.raises(StoppedError):
        distill(teacher, narrow(), task, **options, work=tmp_path, progress=stop)
    resumed = distill(teacher, narrow(seed=7), task, **options, work=tmp_path)
    assert same_weights(whole, resumed)


def test_a_checkpoint_with_other_matches_or_projections_is_refused(tmp_path: Path) -> None:
    task = task_of(data())
    distill(plain_network(1), narrow(), task, match=[HINT], epochs=1, work=tmp_path)
    with pytest.raises(TrainingError, match="its objective was distillation with SoftLabels"):
        distill(plain_network(1), narrow(), task, epochs=1, work=tmp_path)
    with pytest.raises(TrainingError, match="its parts was tensors"):
        distill(network(), narrow(), task, match=[HINT], epochs=1, work=tmp_path)


def test_the_trial_leaves_batch_statistics_and_modes_alone() -> None:
    student, seen = network(2), []
    student[1].register_forward_hook(lambda m, i, o: seen.append((m.training, int(m.num_batches_tracked))))
    match = Match(teacher="2", student="2", loss=SameFeatures())
    distill(network(1), student, task_of(data()), match=[match], training=Training(steps=1))
    assert seen == [(False, 0), (True, 1)]


def test_positions_left_out_by_an_attention_mask_do_not_count() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

        def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.head((self.embed(ids) * attention_mask[..., None]).sum(1))

    ids, mask = torch.tensor([[1, 2, 8], [3, 8, 8]]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    task = task_of([{"ids": ids, "attention_mask": mask}])
    teacher, student = Tokens(), Tokens()
    padding = student.embed.weight[8].clone()
    match = Match(teacher="embed", student="embed", loss=SameFeatures())
    training = Training(steps=3, optimizer=SGD(learning_rate=0.5))
    distill(teacher, student, task, match=[match], training=training)
    assert torch.equal(student.embed.weight[8], padding)


def test_a_loss_sees_the_features_and_the_progress() -> None:
    class Seen(DistillationLoss):
        def terms(self, lesson: Lesson) -> dict[str, Tensor]:
            seen.append((lesson.progress, *(list(pair.student.shape) for pair in lesson.features)))
            return {"answers": lesson.student.square().mean()}

    seen: list[Any] = []
    distill(plain_network(1), narrow(), task_of(data()), match=[HINT], loss=Seen(), training=Training(steps=4))
    assert seen == [(step / 4, [8, 4]) for step in range(4)]


@pytest.mark.parametrize(
    ("match", "named"),
    [
        (Match(teacher="9", student="1", loss=SameFeatures()), "got '9'; expected the path of a module of Sequential"),
        (Match(teacher="1", student="1", loss=SameFeatures()), "expected the same shape"),
    ],
)
def test_a_match_that_cannot_work_is_known_before_the_first_step(match: Match, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        distill(plain_network(1), narrow(), task_of(data()), match=[match], work=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("match", "named"),
    [
        (Match(teacher="extra", student="0", loss=SimilarityPreserving()), "'extra' is never called in one forward"),
        (Match(teacher="1", student="twice", loss=SimilarityPreserving()), "'twice' is called 2 times in one forward"),
        (Match(teacher="0", student="0", loss=SameFeatures(), projection="conv"), "one to three dimensions more"),
    ],
)
def test_a_match_that_hears_nothing_twice_or_what_nothing_joins_is_one_line(match: Match, named: str) -> None:
    class Twice(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(6, 4), nn.Linear(4, 3))
            self.twice = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self[1](self.twice(self.twice(self[0](x))))

    class Unused(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(6, 8), nn.Linear(8, 3))
            self.extra = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self[1](self[0](x))

    with pytest.raises(UsageError, match=named) as caught:
        distill(Unused(), Twice(), task_of(data()), match=[match], epochs=1)
    assert "\n" not in str(caught.value)


def test_a_match_that_breaks_is_named_with_its_step_and_the_checkpoint_stays(tmp_path: Path) -> None:
    class Breaking(FeatureLoss):
        def distance(self, pair: Pair) -> Tensor:
            calls.append(0)
            return pair.student.sum() * (torch.nan if len(calls) == 4 else 0.0)

    calls: list[int] = []
    match = Match(teacher="0", student="0", loss=Breaking())
    training = Training(steps=8, checkpoint_every=1)
    with pytest.raises(TrainingError, match="loss term 'Breaking 0 -> 0' is nan at step 3 of 8"):
        distill(plain_network(1), plain_network(2), task_of(data()), match=[match], training=training, work=tmp_path)
    steps: list[int] = []
    distill(
        plain_network(1), plain_network(2), task_of(data()), match=[match], training=training, work=tmp_path,
        progress=lambda step, total, loss: steps.append(step),
    )  # fmt: skip
    assert steps[0] == 3


def test_a_batch_that_does_not_fit_is_said_in_the_trial_too() -> None:
    task = task_of([(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long))])
    with pytest.raises(DataError, match=r"fails on batch 1 of epoch 1 \(inputs \[\[4, 5\]\]"):
        distill(plain_network(1), narrow(), task, match=[HINT])


class Everything(nn.Module):
    """Makes an image, a sequence and attention maps out of a vector, and answers from them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.image = nn.Sequential(nn.Linear(6, 24), nn.Unflatten(1, (6, 2, 2)))
        self.tokens = nn.Sequential(nn.Linear(6, 24), nn.Unflatten(1, (3, 8)))
        self.maps = nn.Sequential(nn.Linear(6, 18), nn.Unflatten(1, (2, 3, 3)), nn.Softmax(-1))
        self.head = nn.Linear(24 + 24 + 18, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([part(x).flatten(1) for part in (self.image, self.tokens, self.maps)], dim=1))


SITES = {AttentionMaps: "maps", ValueRelations: "tokens", CosineFeatures: "tokens"}


@pytest.mark.parametrize("kind", FEATURES)
def test_every_loss_on_features_falls_when_it_is_trained(kind: type) -> None:
    site, losses = SITES.get(kind, "image"), []
    match = Match(teacher=site, student=site, loss=kind(), weight=20.0, balance=True)
    distill(
        Everything(1),
        Everything(2),
        task_of(data(2)),
        match=[match],
        loss=SameLogits(),
        training=Training(steps=30, optimizer=AdamW(learning_rate=0.02)),
        progress=lambda step, total, loss: losses.append(loss),
    )
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", [SameFeatures, Variational, Contrastive])
def test_features_of_a_student_in_mixed_precision_are_matched_in_float32(kind: type) -> None:
    seen: list[torch.dtype] = []
    student = narrow()
    student[0].register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    match = Match(teacher="1", student="0", loss=kind(), projection="linear")
    training = Training(steps=3, mixed_precision="bf16")
    distill(plain_network(1), student, task_of(data()), match=[match], training=training)
    assert seen[1:] == [torch.bfloat16] * 3
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in student.parameters())
