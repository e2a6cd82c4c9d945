"""Several batches for one step, and the running mean of the weights."""

import copy
from typing import Any

import pytest
import torch
from training_samples import Augmented, StoppedError, data, network, plain_network, same_weights, shuffled, task_of

from laconic.core.metric import IGNORED_LABEL
from laconic.core.task import Batch
from laconic.distill import SoftLabels
from laconic.train import SGD, Step, Training, distillation, supervised, train
from laconic.train.feed import parts_of


def test_a_step_of_several_batches_is_the_step_of_one_batch_of_them_all() -> None:
    batches = data(6, size=8)
    batches[1] = tuple(rows[:3] for rows in batches[1])
    batches[4][1][:5] = IGNORED_LABEL
    joined = [tuple(map(torch.cat, zip(*batches[i : i + 3], strict=True))) for i in (0, 3)]
    models = []
    for given, accumulate in ((batches, 3), (joined, 1)):
        task = task_of(given)
        training = Training(epochs=2, accumulate=accumulate, optimizer=SGD(learning_rate=0.2), clip_norm=0.1)
        objective = distillation(plain_network(1), task, SoftLabels(class_axis=1, hard_weight=0.5))
        run = train(plain_network(2), task, training, objective=objective)
        assert run.steps == 4
        models.append(run.model)
    # Soft labels skip positions whose label is -100 as the criterion does, so both have one mean.
    for one, other in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weights_of_batches_are_their_shares_of_what_counts() -> None:
    x, y = torch.zeros(4, 6), torch.tensor([0, 1, IGNORED_LABEL, 2])
    assert parts_of([Batch(args=(x,), labels=y), Batch(args=(x[:1],))]) == [0.75, 0.25]
    nothing = Batch(args=(x[:1],), labels=y[2:3])
    assert parts_of([nothing, nothing]) == [0, 0]
    assert parts_of([nothing]) == [1]


@pytest.mark.parametrize(("epochs", "accumulate", "steps"), [(3, 2, 8), (1, 2, 3), (1, 9, 1)])
def test_epochs_are_rounded_up_to_whole_steps(epochs: int, accumulate: int, steps: int) -> None:
    assert Training(epochs=epochs, accumulate=accumulate).total_steps(data(5)) == steps


def test_a_run_that_averages_ends_with_the_running_mean_of_its_weights(tmp_path: Any) -> None:
    task, weights = task_of(data()), []
    model = network()
    mean = copy.deepcopy(model[0].weight.detach())

    def watch(step: int, total: int, loss: float) -> None:
        weights.append(model[0].weight.detach().clone())

    training = Training(steps=6, average=0.7, optimizer=SGD(learning_rate=0.5), checkpoint_every=2)
    train(model, task, training, objective=supervised(task), progress=watch, work=tmp_path)
    for step, weight in enumerate(weights, start=1):
        kept = min(0.7, 1 - 1 / (step + 1))
        mean = kept * mean + (1 - kept) * weight
    torch.testing.assert_close(model[0].weight, mean)
    assert not torch.equal(model[0].weight, weights[-1])
    again = train(network(3), task, training, objective=supervised(task), work=tmp_path)
    assert again.resumed_at == 6
    assert same_weights(again.model, model)


def test_a_run_whose_steps_reach_over_epochs_resumes_bit_for_bit(tmp_path: Any) -> None:
    def run(seed: int, *callbacks: Any) -> Any:
        task = task_of(shuffled(dataset=Augmented()))
        training = Training(steps=7, accumulate=2, checkpoint_every=1, optimizer=SGD(learning_rate=0.2))
        work = tmp_path if callbacks or seed else None
        return train(network(seed), task, training, objective=supervised(task), work=work, callbacks=callbacks)

    def crash(step: Step) -> None:
        if step.step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(0, crash)
    resumed = run(5)
    assert resumed.resumed_at == 4
    assert same_weights(run(0).model, resumed.model)
