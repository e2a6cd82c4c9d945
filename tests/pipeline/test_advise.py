"""Advice on a small network, with few techniques and steady clocks, for speed."""

from functools import cache
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
import torch

from laconic import Advice, Budget, Recovery, advise, compress
from laconic.core.errors import ArtifactError, DataError, UsageError
from laconic.core.files import read_json
from laconic.quantize import RoundToNearest
from laconic.report import advice_to_html, advice_to_markdown, write_advice

from .samples import at_once, batches, network, task, weights_alone

TECHNIQUES = tuple(RoundToNearest(bits=bits) for bits in (8, 4, 2))


@cache
def advice(**limits) -> Advice:
    with (
        at_once(),
        patch("laconic.pipeline.bases.FOR_ONNX", TECHNIQUES),
        patch("laconic.pipeline.planning.GRIDS", TECHNIQUES),
        weights_alone(),
    ):
        return advise(network(), task(), Budget(**limits), recovery=Recovery.for_epochs(2))


def test_one_way_is_recommended_and_every_other_says_why_not():
    found = advice(size=0.2, drop=0.02)
    verdicts = [way.verdict for way in found.ways]
    assert found.feasible and verdicts.count("recommended") == 1
    assert all(verdicts) and any("too large" in verdict for verdict in verdicts)
    assert "times smaller" in found.answer


def test_steps_come_in_their_order_and_carry_figures():
    steps = " ".join(advice(macs=0.5).steps)
    order = ("Cut whole channels", "every weight in 8 bits", "So far", "original teach", "Export, measure")
    places = [steps.index(words) for words in order]
    assert places == sorted(places)
    assert "1,280 multiply-adds become" in steps


def test_training_is_estimated_and_its_absence_said():
    assert "for 8 steps" in advice(size=0.2, drop=0.02).training[0]
    found = advise(network(), task(train=None), recovery=Recovery.for_epochs(2))
    assert "there is no training data" in found.training[0]
    assert not any("teach" in step for step in found.steps)


def test_what_may_spoil_it_is_said():
    risks = " ".join(advice(size=0.2, drop=0.02).risks)
    assert "64 evaluation labels tell accuracies apart" in risks
    alike = [(x, torch.ones_like(y)) for x, y in batches()]
    few = advise(network(), task(evaluate=alike, calibrate=[alike[0][:1]]), recovery=None)
    assert any("All evaluation labels are the same" in risk for risk in few.risks)
    assert any("fewer samples than they have inputs (4.weight)" in risk for risk in few.risks)


def test_a_budget_that_nothing_meets_names_the_least_there_is():
    found = advice(size=0.001)
    assert not found.feasible and found.answer.startswith("Nothing here is sure to meet the budget")
    assert any("the smallest form of every layer leaves" in way.verdict for way in found.ways)


def test_the_model_is_left_as_it_was():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    advise(model, task(), recovery=Recovery.for_epochs(1))
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_all_forms_say_the_same_and_come_back_from_json(tmp_path: Path):
    found = advice(macs=0.5)
    page = write_advice(found, tmp_path)
    assert Advice.from_json(read_json(tmp_path / "advice.json")) == found
    text, html = (tmp_path / "advice.md").read_text(), page.read_text()
    assert text == advice_to_markdown(found) and html == advice_to_html(found)
    assert all(f">{way.verdict}<" in html for way in found.ways)
    assert text.count("| recommended |") == 1 and "## What to do" in text
    assert "http:" not in html and "https:" not in html


def test_a_damaged_file_is_refused_by_the_name_of_its_part():
    with pytest.raises(ArtifactError, match=r"Advice.feasible: "):
        Advice.from_json({**advice(macs=0.5).to_json(), "feasible": "who knows"})


def test_wrong_data_and_targets_are_refused_before_anything_starts():
    with pytest.raises(UsageError, match="Target"):
        advise(network(), task(), target="tensorrt")
    with pytest.raises(DataError, match="evaluate"):
        advise(network(), task(evaluate=[]))


def test_compress_goes_on_where_advice_in_the_same_folder_ended(tmp_path: Path):
    work, began = tmp_path / "work", []
    with at_once():
        found = advise(network(), task(), Budget(), recovery=None, work=work)
        progress = Mock(begin=began.append)
        result = compress(network(), task(), Budget(), recovery=None, work=work, progress=progress)
    assert [way.plan for way in found.ways] == [way.plan for way in result.report.ways]
    assert began and not {"original", "evidence", "routes"} & set(began)
    with pytest.raises(UsageError, match="belongs to another job"):
        advise(network(), task(), Budget(size=0.5), recovery=None, work=work)
