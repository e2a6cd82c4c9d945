import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from training_samples import Augmented, data, network, same_weights, shuffled, task_of

from laconic.core.errors import ArtifactError, TrainingError
from laconic.distill import SoftLabels
from laconic.train import SGD, AdamW, Training, distillation, supervised, train
from laconic.train.place import accelerator_for
from laconic.train.randomness import undisturbed
from laconic.train.run import Run


class StoppedError(Exception):
    """Stands for a crash."""


def stop_at(step: int) -> Any:
    def progress(done: int, total: int, loss: float) -> None:
        if done == step:
            raise StoppedError

    return progress


LOADERS = {
    "a list": lambda: data(),
    "global generator": lambda: shuffled(),
    "own generator": lambda: shuffled(seed=5),
    "random augmentation": lambda: shuffled(dataset=Augmented()),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("stopped_at", [1, 4, 6, 7])
def test_a_run_that_stops_and_resumes_gives_the_same_weights_bit_for_bit(
    loader: str, stopped_at: int, tmp_path: Path
) -> None:
    training = Training(steps=9, checkpoint_every=2, optimizer=AdamW(learning_rate=0.05))
    task = task_of(LOADERS[loader]())
    whole = train(network(), task, training, objective=supervised(task))
    task = task_of(LOADERS[loader]())
    with pytest.raises(StoppedError):
        train(network(), task, training, objective=supervised(task), work=tmp_path, progress=stop_at(stopped_at))
    task = task_of(LOADERS[loader]())
    resumed = train(network(seed=9), task, training, objective=supervised(task), work=tmp_path)
    assert resumed.resumed_at == (stopped_at - 1) // 2 * 2
    assert same_weights(whole.model, resumed.model)
    assert resumed.losses == whole.losses


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    task = task_of(data())
    first = train(network(), task, Training(epochs=1), objective=supervised(task), work=tmp_path)
    steps: list[int] = []
    again = train(
        network(seed=9),
        task,
        Training(epochs=1),
        objective=supervised(task),
        work=tmp_path,
        progress=lambda step, total, loss: steps.append(step),
    )
    assert steps == []
    assert same_weights(first.model, again.model)
    assert again.losses == first.losses


def test_without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    task = task_of(data())
    for _ in range(2):
        run = train(network(), task, Training(epochs=1), objective=supervised(task), work=tmp_path, resume=False)
        assert run.resumed_at == 0


def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint_to_resume_from(tmp_path: Path) -> None:
    def press(step: int, total: int, loss: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    task, handler = task_of(data()), signal.getsignal(signal.SIGINT)
    training = Training(steps=7, checkpoint_every=100)
    with pytest.raises(KeyboardInterrupt):
        train(network(), task, training, objective=supervised(task), work=tmp_path, progress=press)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = train(network(seed=9), task, training, objective=supervised(task), work=tmp_path)
    assert resumed.resumed_at == 3
    assert same_weights(resumed.model, train(network(), task, training, objective=supervised(task)).model)


def test_a_loader_that_fails_because_of_ctrl_c_is_a_ctrl_c(tmp_path: Path) -> None:
    class Interrupted:
        def __iter__(self) -> Any:
            yield from data(2)
            os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("DataLoader worker exited unexpectedly")

    task = task_of(Interrupted())
    training = Training(steps=4, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(network(), task, training, objective=supervised(task), work=tmp_path)
    good = task_of(data())
    assert train(network(), good, training, objective=supervised(good), work=tmp_path).resumed_at == 2


def test_the_scale_of_float16_gradients_is_resumed(tmp_path: Path) -> None:
    def run() -> Run:
        accelerator, task = accelerator_for("no"), task_of(data())
        accelerator.scaler = torch.amp.GradScaler("cpu")
        return Run(network().train(), task, Training(steps=6), supervised(task), accelerator)

    with undisturbed(torch.device("cpu")):
        first, second = run(), run()
        first.advance()
        first.save(tmp_path / "checkpoint.safetensors")
        second.load(tmp_path / "checkpoint.safetensors")
        assert second.accelerator.scaler.state_dict() == first.accelerator.scaler.state_dict()
        assert second.accelerator.scaler.state_dict()["_growth_tracker"] == 1
        first.advance()
        second.advance()
    assert same_weights(first.model, second.model)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"training": Training(steps=4, seed=1)}, "seed was 0, now it is 1"),
        ({"training": Training(steps=4, optimizer=lambda m: torch.optim.Adam(m.parameters()))}, "optimizer was AdamW"),
        ({"model": nn.Linear(6, 3)}, "model was tensors"),
        ({"objective": "distillation"}, "objective was supervised, now it is distillation with SoftLabels"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    task = task_of(data())
    train(network(), task, Training(steps=4), objective=supervised(task), work=tmp_path)
    objective = distillation(network(), task, SoftLabels()) if "objective" in change else supervised(task)
    with pytest.raises(TrainingError, match=named):
        train(
            change.get("model", network()),
            task,
            change.get("training", Training(steps=4)),
            objective=objective,
            work=tmp_path,
        )


def test_checkpoints_may_come_at_another_pace_after_a_resume(tmp_path: Path) -> None:
    task = task_of(data())
    train(network(), task, Training(steps=4), objective=supervised(task), work=tmp_path)
    assert train(
        network(), task, Training(steps=4, checkpoint_every=1), objective=supervised(task), work=tmp_path
    ).resumed_at


def test_fewer_batches_than_before_are_refused(tmp_path: Path) -> None:
    training, task = Training(steps=6, checkpoint_every=1), task_of(data(4))
    with pytest.raises(StoppedError):
        train(network(), task, training, objective=supervised(task), work=tmp_path, progress=stop_at(4))
    task = task_of(data(2))
    with pytest.raises(TrainingError, match="written after batch 3 of an epoch, but the loader has only 2"):
        train(network(), task, training, objective=supervised(task), work=tmp_path)


def test_a_loss_that_is_not_finite_names_step_and_term_and_keeps_weights_and_checkpoint(tmp_path: Path) -> None:
    batches = data(4)
    batches[2][0][0, 0] = torch.nan
    task, model = task_of(batches), network()
    with pytest.raises(TrainingError, match="loss term 'labels' is nan at step 3 of 8"):
        train(model, task, Training(epochs=2, checkpoint_every=1), objective=supervised(task), work=tmp_path)
    assert all(p.isfinite().all() for p in model.parameters())
    assert not model.training
    good = task_of(data(4))
    assert train(network(), good, Training(epochs=2), objective=supervised(good), work=tmp_path).resumed_at == 2


def test_tied_weights_stay_tied_and_resume(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.out = nn.Linear(4, 7, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.out(self.embed(ids))

    def tied() -> Tied:
        torch.manual_seed(0)
        return Tied()

    ids = torch.arange(7)[None].repeat(2, 1)
    task, training = task_of([(ids, ids)] * 3), Training(steps=5, checkpoint_every=2)
    whole = train(tied(), task, training, objective=supervised(task)).model
    with pytest.raises(StoppedError):
        train(tied(), task, training, objective=supervised(task), work=tmp_path, progress=stop_at(3))
    resumed = train(tied(), task, training, objective=supervised(task), work=tmp_path).model
    assert resumed.out.weight is resumed.embed.weight
    assert same_weights(whole, resumed)


def test_parametrized_weights_train_and_resume(tmp_path: Path) -> None:
    class Rounded(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight + ((weight * 8).round() / 8 - weight).detach()

    def rounded() -> nn.Sequential:
        model = network()
        parametrize.register_parametrization(model[0], "weight", Rounded())
        return model

    task, training = task_of(data()), Training(steps=6, checkpoint_every=2, optimizer=SGD(learning_rate=0.2))
    whole = train(rounded(), task, training, objective=supervised(task)).model
    with pytest.raises(StoppedError):
        train(rounded(), task, training, objective=supervised(task), work=tmp_path, progress=stop_at(5))
    resumed = train(rounded(), task, training, objective=supervised(task), work=tmp_path).model
    assert same_weights(whole, resumed)
    assert torch.equal(resumed[0].weight * 8, (resumed[0].weight * 8).round())
    assert not torch.equal(resumed[0].weight, rounded()[0].weight)


def test_a_work_folder_that_cannot_be_written_is_known_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    task, steps = task_of(data()), []
    with pytest.raises(ArtifactError, match="cannot be written"):
        train(
            network(),
            task,
            Training(steps=1),
            objective=supervised(task),
            work=tmp_path / "file",
            progress=lambda step, total, loss: steps.append(step),
        )
    assert steps == []
