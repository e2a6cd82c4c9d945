import math
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from training_samples import one_thread

import laconic
from laconic.core.errors import DataError, ModelError, UsageError
from laconic.core.task import Batch, Task
from laconic.distill import Match, PathBalance, SoftTree
from laconic.train import AdamW, Moment, Training, train, tree_growth


class Says(nn.Module):
    """Answers every sample with the same logits."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor([probabilities]).log()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def tree_of_two_leaves() -> SoftTree:
    """For input 1 it goes right with probability 0.75; the leaves give class 0 a probability of 0.9 and 0.2."""
    tree = SoftTree(inputs=1, classes=2, depth=1)
    with torch.no_grad():
        tree.gates.filters.weight.fill_(math.log(3))
        tree.gates.filters.bias.zero_()
        tree.leaves.logits.copy_(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log())
    return tree


def task_of(*batches: tuple[Tensor, Tensor]) -> Task:
    return Task(train=list(batches), evaluate=list(batches))


ONE = torch.ones(1, 1)
FIRST = torch.tensor([0])
TASK = task_of((ONE, FIRST))


def terms(labels: Tensor | None = FIRST, rows: Tensor = ONE, **options: object) -> dict[str, float]:
    objective = tree_growth(TASK, balance=0.5, **options)  # type: ignore[arg-type]
    batch, tree = Batch(args=(rows,), labels=labels), tree_of_two_leaves()
    assert objective.parts is not None
    found = objective.terms(tree, batch, Moment(parts=objective.parts(tree, batch)))
    return {name: term.item() for name, term in found.items()}


def test_hand_worked_losses_on_a_label() -> None:
    leaves = -(0.25 * math.log(0.9) + 0.75 * math.log(0.2))
    balance = 0.5 * -0.5 * (math.log(0.75) + math.log(0.25))
    assert terms(loss="leaves") == pytest.approx({"leaves": leaves, "balance": balance})
    assert terms(loss="mixture") == pytest.approx({"mixture": -math.log(0.375), "balance": balance})


def test_a_hand_worked_loss_on_a_teacher_with_a_share_of_the_label() -> None:
    # At temperature 2 the teacher's (0.9, 0.1) are (0.75, 0.25); with half of the label (0.875, 0.125).
    found = terms(loss="mixture", teacher=Says(0.9, 0.1), temperature=2.0, hard_weight=0.5)
    assert found["mixture"] == pytest.approx(-(0.875 * math.log(0.375) + 0.125 * math.log(0.625)))
    unlabelled = terms(None, loss="mixture", teacher=Says(0.9, 0.1), temperature=2.0, hard_weight=0.5)
    assert unlabelled["mixture"] == pytest.approx(-(0.75 * math.log(0.375) + 0.25 * math.log(0.625)))


def test_samples_with_label_minus_100_do_not_count() -> None:
    found = terms(torch.tensor([0, -100]), torch.tensor([[1.0], [5.0]]))
    assert found["mixture"] == pytest.approx(-math.log(0.375))


def digits() -> tuple[Task, Tensor, Tensor]:
    """Is the digit odd? Which no linear classifier tells well."""
    images, numbers = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x, y = (images / 16).float()[order], (numbers % 2)[order]
    batches = list(zip(x[:1200].split(64), y[:1200].split(64), strict=True))
    return Task(train=batches, evaluate=[(x[1200:], y[1200:])]), x, y


def test_a_tree_of_depth_four_tells_odd_digits_from_even_ones_better_than_a_linear_model() -> None:
    task, x, y = digits()
    torch.manual_seed(0)
    tree = SoftTree(inputs=64, classes=2, depth=4)
    training = Training(epochs=20, optimizer=AdamW(learning_rate=3e-2))
    with one_thread():
        train(tree, task, training, objective=tree_growth(task))
        linear = LogisticRegression(max_iter=1000).fit(x[:1200].numpy(), y[:1200].numpy())
    tree.eval()
    with torch.no_grad():
        mixture = (tree(x[1200:]).argmax(-1) == y[1200:]).float().mean().item()
        tree.answer = "greatest path"
        path = (tree(x[1200:]).argmax(-1) == y[1200:]).float().mean().item()
    line = linear.score(x[1200:].numpy(), y[1200:].numpy())
    assert min(mixture, path) > line + 0.03


def test_a_tree_learns_from_a_teacher_in_one_call_with_its_balance_as_a_match() -> None:
    task, x, _ = digits()
    torch.manual_seed(0)
    teacher, tree = nn.Linear(64, 3), SoftTree(inputs=64, classes=3, depth=3)
    balance = Match(teacher="", student="gates", loss=PathBalance(), weight=0.1)
    training = Training(epochs=4, optimizer=AdamW(learning_rate=3e-2))
    with torch.no_grad():
        before = (tree(x).argmax(-1) == teacher(x).argmax(-1)).float().mean().item()
        with torch.enable_grad(), one_thread():
            laconic.distill(teacher, tree, task, match=[balance], training=training)
        after = (tree(x).argmax(-1) == teacher(x).argmax(-1)).float().mean().item()
    assert after > max(0.75, before + 0.2)


def test_a_killed_run_goes_on_with_its_running_means(tmp_path: Path) -> None:
    task, _, _ = digits()

    def grow(work: Path | None, stop: int) -> SoftTree:
        torch.manual_seed(0)
        tree, seen = SoftTree(inputs=64, classes=2, depth=2), []

        def progress(*_: object) -> None:
            seen.append(1)
            if len(seen) == stop:
                raise KeyboardInterrupt

        training = Training(steps=12, checkpoint_every=1)
        train(tree, task, training, objective=tree_growth(task, balance=10), work=work, progress=progress)
        return tree

    with one_thread():
        expected = grow(None, 0)
        with pytest.raises(KeyboardInterrupt):
            grow(tmp_path, 6)
        found = grow(tmp_path, 0)
    for ours, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "leaf"}, "tree_growth.loss: got 'leaf'"),
        ({"temperature": 0}, "tree_growth.temperature: got 0"),
        ({"hard_weight": 2}, "tree_growth.hard_weight: got 2"),
        ({"balance": -1}, "tree_growth.balance: got -1"),
        ({"decay": 1}, "PathBalance.decay: got 1"),
    ],
)
def test_arguments_outside_their_domain_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        tree_growth(TASK, **options)  # type: ignore[arg-type]


def test_labels_that_are_missing_or_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="no labels"):
        terms(None)
    with pytest.raises(DataError, match="the tree has 2 classes"):
        terms(torch.tensor([2]))


def test_a_model_that_is_no_tree_and_a_teacher_of_other_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="got Linear; expected a SoftTree"):
        train(nn.Linear(1, 2), TASK, Training(steps=1), objective=tree_growth(TASK))
    with pytest.raises(ModelError, match=r"the teacher in \[1, 3\]"):
        terms(teacher=Says(0.5, 0.25, 0.25))
