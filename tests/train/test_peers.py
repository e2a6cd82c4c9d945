"""Students without a finished teacher: peers, and the running mean of themselves."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_samples import data, network, plain_network, same_weights, task_of

from laconic.core.errors import UsageError
from laconic.distill import DistillationLoss, Ensemble, Lesson, Match, SameFeatures, SoftLabels
from laconic.train import SGD, AdamW, Objective, Training, distill, mean_teacher, mutual, train

LOSS = SoftLabels(temperature=1, hard_weight=0.5)


class StoppedError(Exception):
    pass


def stop(step: int, total: int, loss: float) -> None:
    if step == 5:
        raise StoppedError


def test_one_step_of_mutual_learning_is_the_hand_written_step_of_every_peer() -> None:
    (x, y), models = data(1)[0], [plain_network(1), plain_network(2), nn.Linear(6, 3)]
    expected = copy.deepcopy(models)
    task = task_of([(x, y)])
    training = Training(steps=1, optimizer=SGD(learning_rate=0.5, momentum=0), clip_norm=None)
    train(models[0], task, training, objective=mutual(models[1:], task, LOSS))

    answers = [model(x) for model in expected]
    for index, own in enumerate(answers):
        others = [answer.detach() for number, answer in enumerate(answers) if number != index]
        divergence = sum(
            nn.functional.kl_div(own.log_softmax(-1), z.softmax(-1), reduction="batchmean") for z in others
        )
        (divergence / 4 + nn.functional.cross_entropy(own, y) / 2).backward()
    rate = 0.5 * training.schedule(0, 1)
    for ours, theirs in zip(models, expected, strict=True):
        for name, parameter in theirs.named_parameters():
            torch.testing.assert_close(ours.get_parameter(name), parameter - rate * parameter.grad)


def test_peers_learn_in_train_mode_and_have_their_own_mode_back() -> None:
    peer, seen = network(1).eval(), []
    peer[3].register_forward_hook(lambda m, i, o: seen.append(m.training))
    task = task_of(data())
    train(network(2), task, Training(steps=2), objective=mutual([peer], task, LOSS))
    assert seen == [True, True]
    assert not any(m.training for m in peer.modules())


def test_biases_of_peers_do_not_decay() -> None:
    peer = nn.Linear(6, 3).requires_grad_()
    objective = Objective(
        name="nothing",
        terms=lambda model, batch, moment: {
            "zero": 0 * (model.bias.sum() + moment.parts.weight.sum() + peer.bias.sum())
        },
        parts=lambda model, batch: peer,
    )
    before = copy.deepcopy(peer)
    training = Training(steps=1, optimizer=SGD(learning_rate=0.1, weight_decay=0.5))
    train(nn.Linear(6, 3), task_of(data()), training, objective=objective)
    assert torch.equal(peer.bias, before.bias)
    assert (peer.weight.abs() < before.weight.abs()).all()


def test_the_teacher_is_the_running_mean_of_the_student() -> None:
    task, answers = task_of(data()), []

    class Spy(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training:
                answers.append((self.weight.clone(), self.weight.requires_grad))
            return super().forward(x)

    weights: list[torch.Tensor] = []
    student = Spy(6, 3)
    start = student.weight.detach().clone()
    train(
        student,
        task,
        Training(steps=4, optimizer=SGD(learning_rate=0.5)),
        objective=mean_teacher(task, LOSS, decay=0.6),
        progress=lambda step, total, loss: weights.append(student.weight.detach().clone()),
    )
    mean = start
    expected = [mean]
    for step, weight in enumerate(weights[:-1], start=1):
        kept = min(0.6, 1 - 1 / (step + 1))
        mean = kept * mean + (1 - kept) * weight
        expected.append(mean)
    assert not any(free for _, free in answers)
    for (found, _), wanted in zip(answers, expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", ["mutual", "mean teacher"])
def test_a_run_that_stops_and_resumes_gives_the_same_weights_bit_for_bit(kind: str, tmp_path: Path) -> None:
    task, training = task_of(data()), Training(steps=9, checkpoint_every=2, optimizer=AdamW(learning_rate=0.05))

    def run(seed: int, **options: Any) -> list[nn.Module]:
        models = [network(seed), plain_network(seed + 1)]
        objective = mutual(models[1:], task, LOSS) if kind == "mutual" else mean_teacher(task, LOSS, decay=0.9)
        train(models[0], task, training, objective=objective, **options)
        return models if kind == "mutual" else models[:1]

    whole = run(1)
    with pytest.raises(StoppedError):
        run(1, work=tmp_path, progress=stop)
    resumed = run(7, work=tmp_path)
    assert all(same_weights(one, other) for one, other in zip(whole, resumed, strict=True))


def test_an_ensemble_teaches_and_its_members_layers_can_be_matched() -> None:
    teachers, student = [plain_network(1), plain_network(2)], plain_network(3)
    before, losses = copy.deepcopy(teachers), []
    match = Match(teacher="members.1.0", student="0", loss=SameFeatures())
    distill(
        Ensemble(teachers, weights=[1, 2], temperature=2),
        student,
        task_of(data()),
        match=[match],
        training=Training(epochs=30, optimizer=AdamW(learning_rate=0.02)),
        progress=lambda step, total, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0] / 4
    assert all(same_weights(one, other) for one, other in zip(teachers, before, strict=True))


def test_a_function_in_a_loss_is_known_by_its_name_when_a_run_is_resumed(tmp_path: Path) -> None:
    class Own(DistillationLoss):
        def terms(self, lesson: Lesson) -> dict[str, torch.Tensor]:
            return {"own": lesson.student.square().mean()}

    task = task_of(data())
    for _ in range(2):
        match = Match(teacher="0", student="0", loss=SameFeatures(), schedule=lambda progress: 1 - progress)
        distill(plain_network(1), plain_network(2), task, match=[match], loss=Own(), epochs=1, work=tmp_path)


def test_values_outside_their_domain_are_refused() -> None:
    with pytest.raises(UsageError, match=r"mean_teacher\.decay: got 1"):
        mean_teacher(task_of(data()), LOSS, decay=1)
    with pytest.raises(UsageError, match=r"mutual\.peers: got \[\]"):
        mutual([], task_of(data()), LOSS)
