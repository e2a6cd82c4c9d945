"""The whole job on a small network; clocks and processes are replaced, for speed, wherever they do not matter."""

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, patch

import pytest
import torch
from torch import Tensor, nn

from laconic import AdamW, Batch, Budget, Plan, Recovery, Report, compress, load_into, verify
from laconic.core.edit import RoundActivation
from laconic.core.errors import ModelError
from laconic.core.files import read_json
from laconic.export.onnxruntime import Session
from laconic.quantize import RoundToNearest

from .samples import SHARE, at_once, data, finished, network, task

SHORT = Recovery.for_epochs(1)


def artifact():
    return finished().result.folder / "artifact"


def test_a_budget_that_holds_is_said_to_hold_with_every_figure_measured():
    result = finished().result
    report = result.report
    assert result.met and not result.misses and report.met
    for figures in (report.original, report.compressed):
        assert not figures.missing
        assert None not in (figures.size_bytes, figures.macs, figures.parameters, figures.peak_memory_bytes)
        assert {1, report.target.threads} <= figures.latency.keys()
        assert figures.score.predictions == 64
    assert report.compressed.size_bytes <= SHARE * report.original.size_bytes
    assert report.compressed.agreement.relative_error < 0.05


def test_what_is_reported_is_that_of_the_file_that_is_delivered():
    compressed = finished().result.report.compressed
    assert compressed.size_bytes == (artifact() / "model.onnx").stat().st_size
    x, y = data()
    right = Session(artifact() / "model.onnx").run([x.numpy()]).argmax(1) == y.numpy()
    assert compressed.score.value == pytest.approx(right.mean())


def test_the_returned_model_is_the_one_in_the_artifact_bit_for_bit():
    model = finished().result.model
    loaded = load_into(network(seed=1), artifact())
    assert not loaded.training and not model.training
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    x, _ = data(seed=1)
    assert torch.equal(loaded(x), model(x))


def test_the_report_says_the_same_in_memory_and_on_disk():
    result = finished().result
    assert Report.from_json(read_json(result.folder / "report.json")) == result.report
    assert result.report.command == "laconic compress it"
    tried = "w8"
    stages = ["original", "evidence", "routes", "w8a8/plan", f"{tried}/plan", f"{tried}/recover", f"{tried}/measure"]
    assert [name for name, _ in result.report.seconds] == stages


def test_every_layer_with_weights_is_in_the_report_with_what_was_done_to_it():
    rows = {row.name: row for row in finished().result.report.layers}
    assert list(rows) == ["0", "1", "4"]
    assert "8-bit" in rows["0"].done and rows["0"].bytes_after < rows["0"].bytes_before / 3
    assert (
        rows["1"].done == "unchanged" and "float" in rows["1"].why and rows["1"].bytes_after == rows["1"].bytes_before
    )


def test_the_model_that_went_in_is_left_as_it_was_to_the_last_bit():
    done = finished()
    after = done.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in done.before.items())
    assert [module.training for module in done.model.modules()] == [True, True, True, True, True, False]
    assert [p.requires_grad for p in done.model.parameters()] == [True, False, True, True, True, True]
    assert all(p.grad is None for p in done.model.parameters())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in done.model.modules()]
    assert hooks == [0, 0, 0, 1, 0, 0] and done.hook.called


def test_the_report_accounts_for_every_step_and_for_what_was_considered():
    report = finished().result.report
    assert [step.done.split()[0] for step in report.steps] == ["weights", "taught"]
    assert report.steps[-1].nats < report.steps[-2].nats
    verdicts = [way.verdict for way in report.ways]
    assert any("tried, and taken back: size" in verdict for verdict in verdicts)
    assert any(verdict.startswith("not priced: ") for verdict in verdicts)


def test_channels_are_cut_where_the_budget_limits_multiply_accumulates():
    with at_once():
        result = compress(network(), task(), Budget(macs=0.5), recovery=SHORT)
    assert result.met and result.report.compressed.macs <= 0.5 * result.report.original.macs
    assert result.report.compressed.parameters < 0.6 * result.report.original.parameters
    assert verify(result.folder / "artifact").samples > 0
    loaded, (x, _) = load_into(network(seed=1), result.folder / "artifact"), data(seed=1)
    assert torch.equal(loaded(x), result.model(x))


@pytest.mark.parametrize("budget", [{"macs": 0.5}, {"latency": 0.1}])
def test_channels_that_cannot_be_cut_leave_the_nearest_attempt_and_what_is_missing(budget):
    frozen = ModelError("every axis is frozen")
    with at_once(), patch("laconic.pipeline.bases.prune", side_effect=frozen):
        result = compress(network(), task(), Budget(**budget), recovery=None)
    assert [miss.name for miss in result.misses] == list(budget)
    assert any(way.verdict == "every axis is frozen" for way in result.report.ways)


def test_a_recovery_that_brings_the_model_nearer_is_kept_and_said():
    done = finished()
    choice = read_json(done.work / "w8/recover/choice.json")
    assert choice["recovered"] and choice["after"] < choice["before"]
    assert Plan.load(done.work / "w8/plan") != done.result.plan
    assert "recovered by learning" in done.result.report.attempts[-1].why and not done.result.report.warnings


def test_a_recovery_that_does_not_is_taken_back_and_said(tmp_path):
    absurd = Recovery(training=replace(SHORT.training, optimizer=AdamW(learning_rate=1e3)))
    with at_once():
        result = compress(network(), task(), recovery=absurd, work=tmp_path / "w")
    assert Plan.load(tmp_path / "w/w8a8/plan") == result.plan
    assert "recovered" not in result.report.attempts[0].why
    assert any("was taken back" in warning for warning in result.report.warnings)


def test_a_budget_that_nothing_meets_returns_the_nearest_attempt_and_what_is_missing():
    coarse = (RoundToNearest(bits=4),)
    with (
        at_once(),
        patch("laconic.pipeline.bases.FOR_ONNX", coarse),
        patch("laconic.pipeline.planning.GRIDS", coarse),
        patch("laconic.pipeline.explore.KEEPS", (1.0,)),
    ):
        result = compress(network(), task(), Budget(size=0.01), recovery=None)
    assert not result.met and not result.report.met
    (miss,) = result.misses
    original, nearest = result.report.original, result.report.compressed
    assert (miss.name, miss.measured, miss.bound) == ("size", nearest.size_bytes, 0.01 * original.size_bytes)
    assert nearest.score is not None  # Measured in full, although it was known to be too large.
    tried = result.report.attempts
    assert [one.accepted for one in tried].count(True) == 1
    assert nearest.size_bytes == min(one.figures.size_bytes for one in tried)
    assert any("no recovery was asked for" in warning for warning in result.report.warnings)
    assert verify(result.folder / "artifact").samples > 0


def test_integers_that_come_out_slower_are_taken_back_and_without_training_data_nothing_is_recovered():
    with at_once(candidate_ms=3.0):
        result = compress(network(), task(train=None), Budget(size=0.9))
    first, second = result.report.attempts
    assert not first.accepted and "slower than the original" in first.why
    assert second.accepted and not any(isinstance(edit, RoundActivation) for edit in result.plan)
    assert any("there was no training data" in warning for warning in result.report.warnings)
    assert not any("recovered" in one.why for one in result.report.attempts)


def test_a_regression_with_batches_of_the_users_own_kind_goes_all_the_way():
    x, _ = data()
    rows = [SimpleNamespace(values=part, wanted=part[:, :1] * 2) for part in x.split(16)]
    own = {
        "split": lambda row: Batch(args=(row.values,), labels=row.wanted),
        "call": lambda model, batch: {"answer": model(*batch.args)},
        "logits": lambda output: output["answer"],
    }
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1))
    with at_once():
        result = compress(model, task(train=rows, evaluate=rows, metric="mse", **own), Budget(size=0.9), recovery=SHORT)
    compressed = result.report.compressed
    assert compressed.score.metric == "mse" and not compressed.score.higher_is_better
    assert compressed.divergence.kl_nats is None and compressed.divergence.relative_error < 0.1
    assert not any("KL" in name for name, _ in result.report.methods)


@dataclass
class Answer:
    """What a Hugging Face model returns, in short."""

    logits: Tensor
    hidden: Tensor | None = None


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Answer:
        mask = attention_mask[..., None].float()
        hidden = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)
        return Answer(logits=self.head(hidden), hidden=hidden)


def test_dict_batches_and_an_output_object_work_as_they_are():
    ids = torch.randint(100, (48, 7), generator=torch.Generator().manual_seed(0))
    mask = (ids > 9).long()
    mask[:, 0] = 1
    columns = {"input_ids": ids, "attention_mask": mask, "labels": ids[:, 0] % 3}
    rows = [{name: column[i : i + 16] for name, column in columns.items()} for i in range(0, 48, 16)]
    with at_once():
        result = compress(Reader(), task(train=rows, evaluate=rows), Budget(size=0.5), recovery=SHORT)
    assert result.met
    assert verify(result.folder / "artifact").max_error < 0.01
    assert isinstance(result.model(ids, mask), Answer)


@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, ValueError])
def test_without_a_work_folder_nothing_stays_behind(ending, tmp_path):
    made: list[Path] = []

    def work(job, folder, resume):
        made.append(folder)
        (folder / "stage").mkdir()
        if ending is not None:
            raise ending
        return Mock(folder=folder)

    with patch("tempfile.tempdir", str(tmp_path)), patch("laconic.pipeline.compress._compress", work):
        if ending is None:
            result = compress(network(), task())
            assert result.folder.exists()
            del result
            gc.collect()
        else:
            with pytest.raises(ending):
                compress(network(), task())
    assert made and list(tmp_path.iterdir()) == []
