import json
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker
from training_samples import HINT, data, network, plain_network, task_of

from laconic.core.errors import UsageError
from laconic.distill import Labels, Ramp, SoftLabels, Sum, Weighted
from laconic.train import JsonLines, Step, Training, Validation, distillation, mutual, supervised, train

LOSS = Sum(
    losses=(
        Weighted(loss=SoftLabels(hard_weight=0.25), weight=0.5, schedule=Ramp(start=1, end=0)),
        Weighted(loss=Labels(), weight=3),
    )
)


class Noted(GeneralTracker):
    """Keeps what it is given."""

    name = "noted"
    requires_logging_directory = False
    tracker = None

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.lines: list[tuple[int | None, dict[str, float]]] = []
        self.finished = 0

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.finished += 1


def test_trackers_get_every_term_weighted_and_unweighted_with_rates_and_scores() -> None:
    task, tracker = task_of(data()), Noted()
    objective = distillation(plain_network(1), task, LOSS, [HINT])
    train(
        plain_network(2),
        task,
        Training(steps=4),
        objective=objective,
        trackers=[tracker],
        validation=Validation(batches=data(seed=8), every=2),
    )
    assert (tracker.finished, tracker.settings["steps"]) == (1, "4")
    assert [step for step, _ in tracker.lines] == [1, 2, 3, 4]
    assert ["validation/accuracy" in values for _, values in tracker.lines] == [False, True, False, True]
    for done, (_, values) in enumerate(tracker.lines):
        terms = {name.partition("/")[2] for name in values if name.startswith("weighted/")}
        assert terms == {"soft labels", "labels", "SameFeatures 1 -_ 0"}
        factor = 0.5 * (1 - done / 4)
        assert values["weighted/soft labels"] == pytest.approx(0.75 * factor * values["unweighted/soft labels"])
        assert values["weighted/SameFeatures 1 -_ 0"] == pytest.approx(2 * values["unweighted/SameFeatures 1 -_ 0"])
        # Two losses share the labels' name: a quarter of one, faded, and three times the other.
        bare = values["unweighted/labels"] / 2
        assert values["weighted/labels"] == pytest.approx((0.25 * factor + 3) * bare)
        assert values["loss"] == pytest.approx(sum(values[f"weighted/{name}"] for name in terms))
        assert values["learning_rate"] > 0


def test_terms_of_peers_are_means_with_and_without_weights() -> None:
    task, steps = task_of(data()), []
    objective = mutual([plain_network(1), plain_network(3)], task, SoftLabels(hard_weight=0.25))
    train(plain_network(2), task, Training(steps=1), objective=objective, callbacks=[steps.append])
    for name, weighted in steps[0].losses.items():
        share = 0.25 if name.startswith("labels") else 0.75
        assert weighted == pytest.approx(share * steps[0].unweighted[name])


def test_the_tracker_is_closed_when_a_run_fails() -> None:
    task, tracker = task_of(data()), Noted()

    def fail(step: Step) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(network(), task, Training(steps=4), objective=supervised(task), trackers=[tracker], callbacks=[fail])
    assert (tracker.finished, len(tracker.lines)) == (1, 1)


def test_a_callback_hears_of_every_step_and_may_end_the_run(tmp_path: Path) -> None:
    task, heard = task_of(data()), []

    def stop(step: Step) -> bool:
        heard.append((step.step, step.total, step.model, sum(step.losses.values())))
        return step.step == 3

    model = network()
    run = train(
        model, task, Training(steps=9), objective=supervised(task), callbacks=[stop, lambda s: None], work=tmp_path
    )
    assert [(step, total) for step, total, _, _ in heard] == [(1, 9), (2, 9), (3, 9)]
    assert heard[0][2] is model
    assert (run.steps, heard[-1][3]) == (3, pytest.approx(sum(run.losses.values())))
    again = train(network(), task, Training(steps=9), objective=supervised(task), work=tmp_path)
    assert again.resumed_at == again.steps == 3


def test_a_run_that_goes_on_writes_each_step_once(tmp_path: Path) -> None:
    task, path = task_of(data()), tmp_path / "run.jsonl"

    def crash(step: Step) -> None:
        if step.step == 6:
            raise ZeroDivisionError

    def run(**options: Any) -> None:
        training = Training(steps=8, checkpoint_every=4)
        train(
            network(), task, training, objective=supervised(task), work=tmp_path, trackers=[JsonLines(path)], **options
        )

    with pytest.raises(ZeroDivisionError):
        run(callbacks=[crash])
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # Cut off.
    run()
    first, *lines = map(json.loads, path.read_text().splitlines())
    assert first["settings"]["steps"] == "8"
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(line["loss"] == pytest.approx(line["weighted/labels"]) for line in lines)


def test_a_tracker_that_is_not_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(data())
    with pytest.raises(UsageError, match=r"trackers: got 'nowhere'; expected one of .*pip install nowhere"):
        train(network(), task, Training(steps=1), objective=supervised(task), trackers=["nowhere"])
    monkeypatch.setattr(sys.modules["laconic.train.tracking"], "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(UsageError, match=r"trackers: got 'tensorboard'.*Pass work="):
        train(network(), task, Training(steps=1), objective=supervised(task), trackers=["tensorboard"])
