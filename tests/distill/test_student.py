from collections import OrderedDict

import pytest
import torch
from torch import nn

from graph.shallow import IDS, Transformer
from laconic import Task, load_pruned, student
from laconic.core.errors import ModelError, UsageError


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


def residual(depth=4):
    """Layers of 8 units and 16 neurons each."""
    torch.manual_seed(0)
    layers = OrderedDict((f"layer{i}", Residual(8)) for i in range(depth))
    return nn.Sequential(nn.Linear(6, 8), nn.Sequential(layers), nn.Linear(8, 3)).eval()


X = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_every_width_keeps_the_same_fraction_and_the_teacher_all_of_it():
    teacher = perceptron()
    before = parameters(teacher)
    derived = student(teacher, X, width=0.25).model
    assert [derived[0].out_features, derived[2].out_features, derived[4].out_features] == [8, 8, 3]
    assert parameters(teacher) == before


def test_width_of_a_transformer_halves_its_stream_its_neurons_and_its_heads_but_not_the_width_of_a_head():
    derived = student(Transformer(width=8, depth=1).eval(), IDS, width=0.5)
    cut = {axis.kind: len(derived.keep[axis.name]) / axis.size for axis in derived.axes if axis.name in derived.keep}
    assert cut == {"residual stream": 0.5, "neurons": 0.5, "heads": 0.5}


def test_the_slices_that_matter_are_kept_as_the_teacher_has_them():
    teacher = perceptron()
    with torch.no_grad():
        teacher[0].weight[5:] *= 1e-4
        teacher[0].bias[5:] = 0
        teacher[2].weight[:, 5:] *= 1e-4
    derived = student(teacher, X, width=5 / 32).model
    torch.testing.assert_close(derived[0].weight, teacher[0].weight[:5])


def test_layers_go_that_the_answers_do_not_need():
    teacher = residual()
    with torch.no_grad():
        for layer in (teacher[1].layer0, teacher[1].layer2):
            layer.down.weight *= 1e-4
            layer.down.bias *= 1e-4
    derived = student(teacher, X, depth=0.5)
    assert set(derived.removed) == {"1.layer0", "1.layer2"}
    with torch.no_grad():
        torch.testing.assert_close(derived.model(X), teacher(X), atol=1e-3, rtol=0)


def test_spread_layers_stay_at_even_distances_with_the_first_and_the_last():
    derived = student(residual(5), X, depth=0.6, layers="spread")
    assert set(derived.removed) == {"1.layer1", "1.layer3"}


def test_layers_in_a_row_are_several_and_not_one():
    assert len(student(residual(3), X, depth=0.7).removed) == 1


def test_size_is_that_of_all_parameters_with_or_without_depth():
    teacher = perceptron()
    assert student(teacher, X, size=0.3).parameters_ratio == pytest.approx(0.3, abs=0.02)
    both = student(residual(), X, depth=0.5, size=0.3)
    assert both.removed and both.keep and both.parameters_ratio == pytest.approx(0.3, abs=0.05)


def test_multiply_accumulates_decide_the_width_with_or_without_depth():
    assert student(perceptron(), X, macs=0.3).macs_ratio == pytest.approx(0.3, abs=0.02)
    both = student(residual(), X, depth=0.5, macs=0.3)
    assert both.removed and both.keep and both.macs_ratio == pytest.approx(0.3, abs=0.05)
    enough = student(residual(), X, depth=0.25, macs=0.9)
    assert not enough.keep and enough.macs_ratio < 0.5


def test_student_begun_with_data_is_nearer_to_the_teacher_than_one_begun_without():
    teacher = perceptron()
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
    task = Task(evaluate=[(x, x[:, 0])], metric="mse")
    with torch.no_grad():
        errors = [(student(teacher, data, width=0.5).model(x) - teacher(x)).square().mean() for data in (task, x)]
    assert errors[0] < errors[1]


def test_student_is_saved_and_loaded_like_any_pruned_model(tmp_path):
    derived = student(residual(2), X, width=0.5, depth=0.5)
    again = load_pruned(derived.save(tmp_path / "student"), residual(2)).model
    with torch.no_grad():
        torch.testing.assert_close(again(X), derived.model(X))


def test_students_that_are_asked_for_wrongly_are_refused():
    teacher = perceptron()
    for wrong in ({"width": 0}, {"width": 1.5}, {"depth": -1}, {"size": 0}, {"size": 2}):
        with pytest.raises(UsageError, match=r"fraction in \(0, 1\]"):
            student(teacher, X, **wrong)
    with pytest.raises(UsageError, match="one of them"):
        student(teacher, X, width=0.5, size=0.5)
    with pytest.raises(UsageError, match="'measured' or 'spread'"):
        student(teacher, X, depth=0.5, layers="first")
    with pytest.raises(ModelError, match="no layer that it could do without"):
        student(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), X, depth=0.5)
