"""Every way of being taught, written down and run."""

from typing import Any

import pytest
import torch
from torch import nn

from laconic.cli.listen import Terminal
from laconic.cli.methods import METHODS
from laconic.cli.recipe import recipe_of
from laconic.cli.teach import followed, teach
from laconic.core.errors import UsageError
from laconic.distill import Ensemble, Knob
from laconic.train import Trained

from .conftest import HERE


@pytest.fixture(autouse=True)
def nets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


def recipe(**given: Any) -> Any:
    plain = {"teacher": "nets:build", "student": "nets:narrow", "data": "nets:task", "training": {"steps": 4}}
    return recipe_of({**plain, **given}, "recipe")


def ran(**given: Any) -> tuple[Trained, dict[str, Any], nn.Module]:
    torch.manual_seed(1)
    teacher, learner, task, lessons = followed(recipe(**given))
    before = [p.detach().clone() for p in learner.parameters()]
    trained, scores = teach(teacher, learner, task, lessons, Terminal())
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
        "method": {"Remembered": {"shape": [1, 4, 4], "classes": 2, "batches": 1, "steps": 2}},
    },
    "WithoutTeacher": {"method": "WithoutTeacher", "loss": {"VirtualTeacher": {"loss": "SoftLabels"}}},
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
    _, scores = teach(teacher, learner, task, lessons, Terminal())
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
        ({"search": {"space": {"loss.SoftLabels.temperature": {"low": 1, "high": 2}}}}, "search without validation"),
        (
            {"validation": {}, "search": {"space": {"loss.SoftLabels.temperature": {"low": 1, "high": 2}}}},
            "'loss' is not there",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        ran(**given)
    assert "\n" not in str(caught.value)
