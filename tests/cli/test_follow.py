"""Every way of being taught, written down and run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from laconic.cli.listen import Terminal
from laconic.cli.methods import METHODS
from laconic.cli.recipe import Cache, Lines
from laconic.cli.recipe_text import recipe_of
from laconic.cli.run_lessons import run_lessons
from laconic.cli.teach import followed, judged, teach
from laconic.core.errors import ModelError, UsageError
from laconic.distill import Ensemble, Generated, Knob
from laconic.distill.augment import MaskTokens
from laconic.train import Repeated, Trained

from .conftest import HERE


@pytest.fixture(autouse=True)
def nets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


LEAST = {"teacher": "nets:build", "student": "nets:narrow", "data": "nets:task"}


def recipe(**given: Any) -> Any:
    written = {**LEAST, "training": {"steps": 4}, **given}
    return recipe_of({key: value for key, value in written.items() if value is not None or key == "data"}, "recipe")


def ran(**given: Any) -> tuple[Trained, dict[str, Any], nn.Module]:
    torch.manual_seed(1)
    teacher, learner, task, lessons = followed(recipe(**given))
    before = [p.detach().clone() for p in learner.parameters()]
    trained = teach(teacher, learner, task, lessons, Terminal())
    scores = judged(teacher, trained.model, task, lessons)
    moved = [not torch.equal(a, b) for a, b in zip(before, trained.model.parameters(), strict=True)]
    assert any(moved)
    return trained, scores, teacher


TOKENS = {"teacher": "nets:talker", "student": "nets:talker", "data": "nets:texts"}
WAYS: dict[str, dict[str, Any]] = {
    "Mutual": {"method": {"Mutual": {"peers": ["nets:linear"]}}, "loss": {"SoftLabels": {"hard_weight": 0.5}}},
    "MeanTeacher": {"method": {"MeanTeacher": {"decay": 0.9}}, "loss": {"SoftLabels": {"hard_weight": 0.5}}},
    "OwnTeacher": {"method": {"OwnTeacher": {"layers": ["0"]}}},
    "InTurn": {"method": {"InTurn": {"begins": [0, 0.5]}}, "teacher": ["nets:build", "nets:linear"]},
    "OnPolicy": {**TOKENS, "method": {"OnPolicy": {"decoding": {"Sampled": {"length": 2}}, "share": 1}}},
    "Dictation": {**TOKENS, "method": {"Dictation": {"decoding": {"Beams": {"length": 2, "beams": 2}}}}},
    "Remembered": {
        "teacher": "nets:picture_net", "student": "nets:picture_net", "data": "nets:pictures",
        "method": {"Remembered": {"shape": [1, 4, 4], "classes": 2, "batches": 1, "inversion": {"steps": 2}}},
    },
    "WithoutTeacher": {"method": "WithoutTeacher", "loss": {"VirtualTeacher": {"loss": "SoftLabels"}}},
    "TreeGrowth": {
        "student": {"SoftTree": {"inputs": 16, "classes": 4, "depth": 2}},
        "method": {"TreeGrowth": {"temperature": 2, "balance": 0}},
    },
    "a tree by itself": {"student": {"SoftTree": {"inputs": 16, "classes": 4, "depth": 2}}},
    "a tree with a loss": {"student": {"SoftTree": {"inputs": 16, "classes": 4, "depth": 2}}, "loss": "SoftLabels"},
    "BornAgain": {"method": {"BornAgain": {"generations": 2}}},
    "other inputs": {
        "teacher": "nets:reads", "student": "nets:reads", "data": "nets:two_vocabularies",
        "teacher_inputs": {"ids": "teacher_ids"}, "student_inputs": ["ids"],
    },
    "learned": {"match": "learned", "training": {"steps": 2}},
    "weights learned": {"teacher": ["nets:build", "nets:linear"], "together": {"weights": "learned"}},
    "weights given": {"teacher": ["nets:build", "nets:linear"], "together": {"weights": [1, 3], "temperature": 4}},
    "each sample": {
        "teacher": ["nets:build", "nets:linear"], "together": {"weights": "each sample"},
        "loss": {"EachTeacher": {"loss": "SoftLabels", "by": "confidence"}},
    },
    "freeze": {"freeze": {"0.*": 0.5, "2.bias": [0.25, 0.75]}},
    "balance": {"loss": ["Labels", "SameLogits"], "balance": ["logits"]},
    "adapt": {
        "loss": ["Labels", {"Weighted": {"loss": "SoftLabels", "schedule": {"OnPlateau": {"factor": 0.5}}}}],
        "match": [{"teacher": "0", "student": "0", "loss": "Contrastive", "schedule": {"ByGap": {"teacher": 1}}}],
        "validation": {"share": 0.25, "every": 2},
    },
}  # fmt: skip


def test_every_method_is_among_them() -> None:
    assert {kind.__name__ for kind in METHODS} <= set(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_recipe_teaches_in_every_way(way: str) -> None:
    trained, scores, teacher = ran(**WAYS[way])
    assert set(trained.pairing) == ({"0", "2"} if way == "learned" else set())
    assert set(scores) == {"teacher", "student"}
    if way == "each sample":
        assert isinstance(teacher, Ensemble) and not teacher.mixed
    if way == "weights given":
        assert teacher.weights.tolist() == [0.25, 0.75] and teacher.temperature == 4


def test_what_is_held_back_of_several_tasks_is_not_learned_from() -> None:
    given = {
        "student": "nets:two_heads",
        "tasks": {"four": {"teacher": "nets:build", "data": "nets:many_of_four"}},
        "validation": {"share": 0.25},
    }
    teacher, learner, task, lessons = followed(recipe_of({**given, "training": {"steps": 2}}, "recipe"))
    seen: list[torch.Tensor] = []
    handle = learner.register_forward_pre_hook(lambda module, args: seen.append(args[0]) if module.training else None)
    run_lessons(teacher, learner, task, lessons, lambda *_: None)
    handle.remove()
    last = list(task.train)[-1][0]
    assert seen and not any(torch.equal(x, last) for x in seen)


def test_an_estimator_is_fitted_to_the_teacher() -> None:
    pytest.importorskip("sklearn")
    given = {"Sklearn": {"estimator": "sklearn.linear_model:LogisticRegression", "arguments": {"max_iter": 50}}}
    teacher, learner, task, lessons = followed(recipe_of({**LEAST, "student": given}, "recipe"))
    trained = teach(teacher, learner, task, lessons, Terminal())
    scores = judged(teacher, trained.model, task, lessons)
    assert trained.model.found.estimator.max_iter == 50
    assert trained.model.found.agreement > 0.7 and set(scores) == {"teacher", "student"}


def test_answers_on_disk_are_of_what_repeats() -> None:
    repeated = {"Repeated": {"augmentations": [{"MaskTokens": {"mask": 0}}], "variants": 2, "seed": 5}}
    answers = {"folder": "answers", "top": 2, "precision": "float32", "encrypted": True}
    found = recipe(cache=answers, augment=repeated)
    assert found.cache == Cache(folder="answers", top=2, precision="float32", encrypted=True)
    assert found.augment == (Repeated(augmentations=(MaskTokens(mask=0),), variants=2, seed=5),)


def test_a_cache_of_what_repeats_is_written_under_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setenv("LACONIC_CACHE_KEY", "ab" * 32)
    repeated = {"Repeated": {"augmentations": [{"MaskTokens": {"mask": 0}}], "variants": 2}}
    ran(**TOKENS, cache={"folder": str(tmp_path / "answers"), "encrypted": True}, augment=repeated)
    manifest = json.loads((tmp_path / "answers" / "cache.json").read_text())
    assert manifest["encryption"] == "AES-256-GCM" and "variants=2" in manifest["augmentation"]


def test_decodings_of_models_that_generate_and_trackers_of_lines_can_be_named() -> None:
    generated = {"Generated": {"options": {"max_new_tokens": 8, "num_beams": 2}, "end": 2}}
    found = recipe(method={"OnPolicy": {"decoding": generated}}, trackers=[{"JsonLines": {"path": "run.jsonl"}}])
    assert found.method.decoding == Generated(options={"max_new_tokens": 8, "num_beams": 2}, end=2)
    assert found.trackers == (Lines(path="run.jsonl"),)


def test_rules_become_knobs_where_they_stand() -> None:
    *_, lessons = followed(recipe(**WAYS["adapt"]))
    weighted = lessons.loss.losses[1]
    assert isinstance(weighted.schedule, Knob)
    assert [type(rule).__name__ for rule in lessons.rules.values()] == ["OnPlateau", "ByGap"]
    assert set(lessons.rules) == {weighted.schedule, lessons.match[0].schedule}


def test_several_tasks_are_taught_at_once_and_scored_one_by_one() -> None:
    parts = {
        "four": {"teacher": "nets:build", "data": "nets:four", "loss": {"SoftLabels": {"temperature": 4}}},
        "two": {"teacher": "nets:sign", "data": "nets:two", "match": [{"teacher": "", "student": "heads.two",
                "loss": "SameFeatures"}]},
    }  # fmt: skip
    given = {"student": "nets:two_heads", "tasks": parts, "tau": 0.5, "training": {"steps": 6}}
    teacher, learner, task, lessons = followed(recipe_of(given, "recipe"))
    trained = teach(teacher, learner, task, lessons, Terminal())
    scores = judged(teacher, trained.model, task, lessons)
    assert set(scores) == {"teacher of four", "student of four", "teacher of two", "student of two"}


def test_numbers_are_looked_for_by_validation_and_then_used() -> None:
    given = {
        "loss": {"SoftLabels": {"temperature": 3, "hard_weight": 0.5}},
        "training": {"steps": 2, "optimizer": {"AdamW": {"learning_rate": 1e-3}}},
        "validation": {"share": 0.25},
        "search": {
            "space": {
                "loss.SoftLabels.temperature": {"low": 1, "high": 20, "log": True},
                "training.optimizer.AdamW.learning_rate": {"low": 0.001, "high": 0.1},
            },
            "trials": 2,
        },
    }
    *_, lessons = followed(recipe(**given))
    assert 1 <= lessons.loss.temperature <= 20 and lessons.loss.temperature != 3
    assert lessons.loss.hard_weight == 0.5 and lessons.training.steps == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": None}, "the key 'data' is missing"),
        ({"teacher": []}, "the key 'teacher' is missing"),
        ({"tasks": {"a": {"teacher": "nets:build", "data": "nets:four"}}}, "got teacher beside tasks"),
        ({"method": "MeanTeachr"}, "method: got 'MeanTeachr'; expected"),
        ({"method": {"MeanTeacher": {"decy": 0.5}}}, "method: MeanTeacher: got the key 'decy'.*'decay'"),
        ({"freeze": {"0.*": "late"}}, r"freeze: 0\.\*: got 'late'; expected float"),
        ({"together": {"weights": "learnt"}}, "weights: got 'learnt'; expected"),
    ],
)
def test_a_mistake_is_said_before_anything_is_built(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teacher_inputs": {"x": "y"}, "method": "MeanTeacher"}, "got teacher_inputs beside method"),
        ({"cache": "a", "method": "MeanTeacher"}, "got cache beside method"),
        ({"assistants": 1, "freeze": {"0.*": 0.5}}, "got assistants beside freeze"),
        ({"trackers": ["tensorboard"]}, "got trackers without work"),
        ({"teacher_weights": ["a", "b"]}, "got 2 for 1 teachers"),
        ({"method": {"InTurn": {"begins": [0, 0.5]}}}, "got 2 begins for 1 teachers"),
        ({"method": "MeanTeacher", "match": "auto"}, "got match beside method: MeanTeacher"),
        ({"teacher": ["nets:build", "nets:linear"], "together": {"weights": "each sample"}}, "expected the loss EachT"),
        ({"method": "BornAgain", "augment": {"Mixup": {}}}, "got method: BornAgain beside augment"),
        ({"student": {"Sklearn": {"estimator": "nets:build"}}, "loss": "Labels"}, "got student: Sklearn beside loss"),
        ({"student": {"Sklearn": {"estimator": "nets:build"}}, "training": None}, "expected a classifier or a regr"),
        ({"cache": "a", "augment": {"Mixup": {}}}, "got cache beside augment; expected Repeated around it"),
        ({"compiled": True, "match": "auto"}, "got compiled beside match"),
        ({"student": {"SoftTree": {"inputs": 16, "classes": 4, "depth": 2, "shape": [5, 5]}}}, "draw_tree.shape: got"),
        ({"method": "TreeGrowth", "loss": "Labels"}, "got loss beside method: TreeGrowth"),
        ({"method": "TreeGrowth"}, "got Sequential; expected a SoftTree"),
        ({"search": {"space": {"loss.SoftLabels.temperature": {"low": 1, "high": 2}}}}, "search without validation"),
        (
            {"validation": {}, "search": {"space": {"loss.SoftLabels.temperature": {"low": 1, "high": 2}}}},
            "'loss' is not there",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises((UsageError, ModelError), match=said) as caught:
        ran(**given)
    assert "\n" not in str(caught.value)
