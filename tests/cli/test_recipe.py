import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import laconic as package
from laconic.cli.recipe import Derive
from laconic.cli.recipe_text import KINDS, read_recipe
from laconic.core.errors import UsageError
from laconic.distill import ALL, AttentionTransfer, Labels, Match, Ramp, SameFeatures, SoftLabels, Sum, Weighted
from laconic.distill.augment import Mixup
from laconic.train import SGD, Constant, Cosine, Training

from . import nets
from .conftest import Laconic

WHOLE = """
teacher: nets:build
student: nets:narrow
data: nets:task
batch_size: 32
loss:
  - Labels
  - Weighted: {loss: {SoftLabels: {temperature: 4, hard_weight: 1e-1}}, weight: 2, schedule: {Ramp: {start: 1, end: 0}}}
match:
  - {teacher: layer3, student: layer1, loss: AttentionTransfer, balance: true}
  - {teacher: fc, student: fc, loss: {SameFeatures: {}}, projection: linear}
augment: {Mixup: {alpha: 1}}
training: {epochs: 3, optimizer: {SGD: {learning_rate: 0.1}}, schedule: Constant, clip_norm: null}
work: run
"""


def recipe(tmp_path: Path, text: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_recipe(path)


def least(tmp_path, **changed):
    lines = {"teacher": "nets:build", "student": "nets:narrow", "data": "nets:task", **changed}
    return recipe(tmp_path, "\n".join(f"{key}: {value}" for key, value in lines.items() if value is not None))


def test_a_recipe_is_the_python_classes_written_down(tmp_path):
    found = recipe(tmp_path, WHOLE)
    soft = Weighted(loss=SoftLabels(temperature=4.0, hard_weight=0.1), weight=2.0, schedule=Ramp(start=1.0, end=0.0))
    assert found.loss == Sum(losses=(Labels(), soft))
    assert found.match == (
        Match(teacher="layer3", student="layer1", loss=AttentionTransfer(), balance=True),
        Match(teacher="fc", student="fc", loss=SameFeatures(), projection="linear"),
    )
    assert found.augment == (Mixup(alpha=1.0),)
    expected = Training(epochs=3, optimizer=SGD(learning_rate=0.1), schedule=Constant(), clip_norm=None)
    assert found.training == expected
    assert (found.teacher, found.batch_size, found.work, found.cache) == ("nets:build", 32, "run", None)


def test_what_a_recipe_leaves_out_is_as_in_python(tmp_path):
    found = least(tmp_path)
    assert found.loss is None and found.match == () and found.augment == () and found.assistants == 0
    assert found.training.epochs == 10 and found.training.schedule == Cosine(warmup=0.05)
    assert least(tmp_path, match="auto").match == "auto"
    assert least(tmp_path, student="{width: 0.5, depth: 0.25}").student == Derive(width=0.5, depth=0.25)


def test_every_loss_can_be_named():
    assert set(ALL) <= set(KINDS.values())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"epoch": 3}, r"got the key 'epoch'; expected an argument of Recipe. It has|Did you mean"),
        ({"augmnt": "Mixup"}, "got the key 'augmnt'.*Did you mean 'augment'"),
        ({"loss": "{SoftLabels: {temprature: 4}}"}, "loss: SoftLabels: got the key 'temprature'.*'temperature'"),
        ({"loss": "SoftLabel"}, "got 'SoftLabel'; expected.*"),
        ({"loss": "{SoftLable: {}}"}, "got 'SoftLable'; expected the name of a class. Did you mean 'SoftLabels'"),
        ({"loss": "{SoftLabels: {}, Labels: {}}"}, "expected one class with its arguments"),
        ({"loss": "{SoftLabels: {temperature: hot}}"}, "temperature: got 'hot'; expected float"),
        ({"loss": "{SoftLabels: {temperature: -1}}"}, "SoftLabels.temperature: got -1.0; expected a positive number"),
        ({"loss": "{SoftLabels: 4}"}, "SoftLabels: got 4; expected the arguments of SoftLabels"),
        ({"loss": "{SoftLabels: {temperature: [1, 2]}}"}, r"temperature: got \[1, 2\]; expected float"),
        ({"cache": "{folder: a, encryptd: true}"}, "cache: got the key 'encryptd'.*Did you mean 'encrypted'"),
        ({"student": "{SoftTree: {inputs: 4, classes: 2}}"}, "student: SoftTree: the key 'depth' is missing"),
        (
            {"student": "{SoftTre: {inputs: 4}}"},
            "student: got 'SoftTre'; expected the name of a class. Did you mean 'SoftTree'",
        ),
        ({"augment": "{Repeated: {variants: 2}}"}, "augment: Repeated: the key 'augmentations' is missing"),
        ({"training": "{epochs: 1.5}"}, "training: epochs: got 1.5; expected int"),
        ({"training": "{epochs: 1, clip_norm: true}"}, "clip_norm: got True; expected float"),
        ({"match": "all"}, "match: got 'all'; expected .*'auto'"),
        ({"match": "[{teacher: a, loss: SameFeatures}]"}, "match 1: the key 'student' is missing"),
        ({"student": None}, "the key 'student' is missing"),
        ({"student": "{width: 0.5, heigth: 2}"}, "student: got the key 'heigth'; expected an argument of Derive"),
        ({"assistants": "two"}, "assistants: got 'two'; expected int"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what_instead(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said) as found:
        least(tmp_path, **changed)
    assert "\n" not in str(found.value)


def test_a_file_that_is_no_yaml_or_says_something_twice_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no YAML"):
        recipe(tmp_path, "teacher: [")
    with pytest.raises(UsageError, match="the key 'data' is there twice"):
        least(tmp_path, data="nets:task\ndata: nets:other")
    with pytest.raises(UsageError, match=r"is no YAML.*python/object"):
        recipe(tmp_path, "teacher: !!python/object/apply:os.getcwd []")
    with pytest.raises(UsageError, match="expected the arguments of Recipe"):
        recipe(tmp_path, "- teacher")


def written(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def test_a_recipe_is_run_by_one_command(laconic: Laconic, tmp_path: Path):
    out = tmp_path / "student.safetensors"
    lines = f"""
teacher: nets:build
student: nets:narrow
data: nets:task
loss: {{SoftLabels: {{hard_weight: 0.5}}}}
training: {{epochs: 1}}
cache: {tmp_path / "answers"}
out: {out}
"""
    ran = laconic("distill", written(tmp_path, lines), "--json")
    assert ran.code == 0 and set(ran.json) == {"out", "teacher", "student"}
    assert set(load_file(out)) == set(nets.narrow().state_dict())
    assert (tmp_path / "answers" / "cache.json").exists()


def test_a_student_without_labels_anywhere_is_written_and_not_scored(laconic: Laconic, tmp_path: Path):
    out = tmp_path / "student.safetensors"
    lines = f"""
teacher: nets:build
student: nets:narrow
data: nets:unlabelled
training: {{steps: 2}}
out: {out}
"""
    ran = laconic("distill", written(tmp_path, lines), "--json")
    assert ran.code == 0 and set(ran.json) == {"out"} and out.exists()


def test_a_derived_student_is_saved_so_that_it_can_be_read_again(laconic: Laconic, tmp_path: Path):
    lines = f"""
teacher: nets:build
student: {{width: 0.25}}
data: nets:task
training: {{epochs: 1}}
out: {tmp_path / "small.safetensors"}
"""
    ran = laconic("distill", written(tmp_path, lines))
    assert ran.code == 0 and "laconic.load_pruned" in ran.out
    assert package.load_pruned(tmp_path / "small", nets.build()).model(torch.zeros(2, 16)).shape == (2, 4)


def test_a_tree_comes_with_its_picture_and_an_estimator_as_it_is(laconic: Laconic, tmp_path: Path):
    tree, table = tmp_path / "tree.safetensors", tmp_path / "table.pickle"
    lines = f"""
teacher: nets:build
student: {{SoftTree: {{inputs: 16, classes: 4, depth: 2, picture: {tmp_path / "tree.svg"}, shape: [4, 4]}}}}
data: nets:task
training: {{epochs: 1}}
out: {tree}
"""
    ran = laconic("distill", written(tmp_path, lines))
    assert ran.code == 0 and "its picture in" in ran.out
    assert (tmp_path / "tree.svg").read_text().count("<image") == 3 and "gates.filters.weight" in load_file(tree)
    lines = f"""
teacher: nets:build
student: {{Sklearn: {{estimator: sklearn.linear_model:Ridge}}}}
data: nets:task
out: {table}
"""
    ran = laconic("distill", written(tmp_path, lines))
    assert ran.code == 0 and "open only what you trust" in ran.out
    assert pickle.loads(table.read_bytes()).predict(nets.pairs()[0]).shape == (64,)


def test_options_beside_a_recipe_and_missing_arguments_are_refused(laconic: Laconic, tmp_path: Path):
    path = written(tmp_path, "teacher: nets:build\nstudent: nets:narrow\ndata: nets:task\nepochs: 3")
    assert "got epochs beside a recipe" in laconic("distill", path, "--epochs", 3).line
    assert "got the key 'epochs'" in laconic("distill", path).line
    assert "got no STUDENT or no --data" in laconic("distill", "nets:build").line
    both = written(tmp_path, "teacher: nets:build\nstudent: nets:narrow\ndata: nets:task\ncache: a\nmatch: auto")
    assert "got cache beside match" in laconic("distill", both).line
