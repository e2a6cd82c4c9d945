"""One block at a time, on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from laconic.calibrate import Encoder, Layer, LayerEvidence, calibrate, layers
from laconic.core.coding import Coding
from laconic.core.errors import ArtifactError, DataError, ModelError, UsageError
from laconic.core.files import write_tensors
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.quantize import CompensatedRounding, RoundToNearest
from laconic.streaming import Streamed, stream
from streaming.decoders import Decoder, decoder, language_task, on_meta, write_checkpoint

FOUR = RoundToNearest(bits=4)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(decoder(), tmp_path / "original")
    return tmp_path / "original"


def answers(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(*batch.args).flatten() for batch in language_task().batches("evaluate")])


class StopHereError(Exception):
    pass


class Watching:
    """Notes what each weight is coded for, and may stop in the middle."""

    def __init__(self, stop: str = "") -> None:
        self.seen: dict[str, LayerEvidence | None] = {}
        self.stop = stop

    def __repr__(self) -> str:
        return "Watching()"

    def encode(self, weight: torch.Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Coding:
        if layer.parameter == self.stop:
            raise StopHereError
        self.seen[layer.parameter] = evidence
        return FOUR.encode(weight, layer, evidence)


def test_each_weight_is_coded_for_what_the_compressed_model_before_it_gives(checkpoint: Path, tmp_path: Path) -> None:
    technique = Watching()
    found = stream(on_meta(), checkpoint, language_task(), technique, tmp_path / "small")
    small = found.load(on_meta())
    whole = calibrate(small, language_task(), gradients=False, activations=False)
    original = dict(decoder().named_parameters())
    assert technique.seen.keys() == {name for name, p in original.items() if p.dim() == 2}
    for name in ("embed.weight", "layers.0.q.weight", "layers.2.q.weight", "layers.3.v.weight", "head.weight"):
        # What goes into the first layers of a block, and into the head, depends on nothing that is coded later.
        seen = technique.seen[name]
        assert seen is not None
        assert torch.allclose(seen.input_sum, whole.layers[name].input_sum, rtol=1e-4, atol=1e-4), name
        expected = FOUR.encode(original[name], seen.layer, seen).decode()
        assert torch.equal(dict(small.named_parameters())[name], expected)


def test_without_a_technique_the_model_comes_back_bit_for_bit(checkpoint: Path, tmp_path: Path) -> None:
    found = stream(on_meta(), checkpoint, language_task(), {"*": None}, tmp_path / "same")
    again = found.load(on_meta())
    for (name, here), there in zip(again.named_parameters(), decoder().parameters(), strict=True):
        assert torch.equal(here, there), name
    assert torch.equal(answers(again), answers(decoder()))
    assert all(part.error == 0 for part in found.parts if part.path)


def test_the_model_given_stays_on_the_meta_device(checkpoint: Path, tmp_path: Path) -> None:
    model = on_meta()
    stream(model, checkpoint, language_task(), FOUR, tmp_path / "small")
    assert all(parameter.is_meta for parameter in model.parameters())
    assert [type(block).__name__ for block in model.layers] == ["Block"] * 4


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        ("embed.weight", ("embed", "layers", "head")),
        ("layers.0.q.weight", ("layers", "head")),
        ("layers.2.up.weight", ("layers.2", "layers.3", "head")),
        ("head.weight", ("head",)),
    ],
)
def test_after_an_interruption_it_goes_on_and_ends_up_the_same(
    checkpoint: Path, tmp_path: Path, stop: str, left: tuple[str, ...]
) -> None:
    at_once = stream(on_meta(), checkpoint, language_task(), Watching(), tmp_path / "at once")
    with pytest.raises(StopHereError):
        stream(on_meta(), checkpoint, language_task(), Watching(stop), tmp_path / "small")
    again = Watching()
    found = stream(on_meta(), checkpoint, language_task(), again, tmp_path / "small")
    assert again.seen.keys() == {n for n, p in decoder().named_parameters() if p.dim() == 2 and n.startswith(left)}
    assert found.done and [p.path for p in found.parts] == [p.path for p in at_once.parts]
    for (_, one), (_, other) in zip(found.plans(), at_once.plans(), strict=True):
        assert one.digest == other.digest
    assert {p.name for p in found.folder.iterdir()} == {p.name for p in at_once.folder.iterdir()}


def test_a_finished_run_is_not_done_again(checkpoint: Path, tmp_path: Path) -> None:
    first = stream(on_meta(), checkpoint, language_task(), Watching(), tmp_path / "small")
    (tmp_path / "small" / "activations").mkdir()  # As if it had been killed before it could clear up.
    technique = Watching()
    assert stream(on_meta(), checkpoint, language_task(), technique, tmp_path / "small") == first
    assert not technique.seen and not (tmp_path / "small" / "activations").exists()
    assert Streamed.open(tmp_path / "small") == first


def test_sizes_are_those_on_disk_and_in_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    found = stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "small")
    files = [p for p in (tmp_path / "small").glob("*/*") if p.is_file()]
    assert found.size_bytes == sum(p.stat().st_size for p in files)
    assert found.original_bytes == sum(2 * p.numel() for p in decoder().parameters())
    assert not (tmp_path / "small" / "activations").exists()


def test_errors_of_blocks_are_those_of_their_answers(checkpoint: Path, tmp_path: Path) -> None:
    found = stream(on_meta(), checkpoint, language_task(), {"layers.0.*": FOUR}, tmp_path / "small")
    model, small = decoder(), found.load(on_meta())
    change = energy = 0.0
    for batch in language_task().batches("evaluate"):
        outputs = []
        for one in (model, small):
            handle = one.layers[0].register_forward_hook(lambda m, a, y, keep=outputs: keep.append(y[0].double()))
            with torch.no_grad():
                one(*batch.args)
            handle.remove()
        change += float((outputs[1] - outputs[0]).square().sum())
        energy += float(outputs[0].square().sum())
    # Grids are of float32 there, weights of bfloat16 here.
    assert found.parts[0].error == pytest.approx(change / energy, rel=0.05)
    assert [part.error for part in found.parts[1:]] == [0, 0, 0, None]


def test_layers_in_order_come_nearer_to_what_their_block_answered(checkpoint: Path, tmp_path: Path) -> None:
    technique = {"layers.*": CompensatedRounding(bits=3)}
    task = language_task(8)
    alone = stream(on_meta(), checkpoint, task, technique, tmp_path / "alone")
    in_order = stream(on_meta(), checkpoint, task, technique, tmp_path / "in order", in_order=True)
    first, second = (sum(part.error or 0 for part in found.parts) for found in (alone, in_order))
    assert second < first
    biases = [edit.parameter for part, plan in in_order.plans() if part.path for edit in plan.recodes]
    assert "down.bias" in biases


def test_blocks_are_read_one_by_one(checkpoint: Path, tmp_path: Path) -> None:
    found = stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "small")
    block, whole = found.load_block(on_meta(), "layers.2"), found.load(on_meta())
    assert torch.equal(block.get_parameter("up.weight"), whole.get_parameter("layers.2.up.weight"))
    (tmp_path / "small" / "block-00001" / "plan.safetensors").write_bytes(b"")
    assert torch.equal(
        found.load_block(on_meta(), "layers.2").get_parameter("o.weight"), block.get_parameter("o.weight")
    )
    with pytest.raises(ArtifactError, match="damaged"):
        found.load_block(on_meta(), "layers.1")


def test_a_tied_embedding_is_coded_once_and_stays_tied(tmp_path: Path) -> None:
    write_checkpoint(decoder(tied=True), tmp_path / "original")
    technique = Watching()
    found = stream(on_meta(tied=True), tmp_path / "original", language_task(), technique, tmp_path / "small")
    small = found.load(on_meta(tied=True))
    assert small.head.weight is small.embed.weight
    assert "embed.weight" in technique.seen and "head.weight" not in technique.seen


def test_one_file_without_an_index_will_do(tmp_path: Path) -> None:
    write_tensors(tmp_path / "original" / "weights.safetensors", dict(decoder().named_parameters()))
    found = stream(on_meta(), tmp_path / "original", language_task(), {"head.weight": FOUR}, tmp_path / "small")
    assert torch.equal(found.load(on_meta()).embed.weight, decoder().embed.weight)


def test_what_is_passed_by_a_dict_of_names_reaches_the_model(checkpoint: Path, tmp_path: Path) -> None:
    batches = [{"ids": batch.args[0]} for batch in language_task().batches("evaluate")]
    named = stream(on_meta(), checkpoint, Task(evaluate=batches), FOUR, tmp_path / "named")
    plain = stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "plain")
    assert [p.digest for _, p in named.plans()] == [p.digest for _, p in plain.plans()]


def test_models_that_work_between_their_blocks_are_refused(tmp_path: Path) -> None:
    write_checkpoint(decoder(extra=True), tmp_path / "original")
    with pytest.raises(ModelError, match="block 1 is not called with what block 0 answers"):
        stream(on_meta(extra=True), tmp_path / "original", language_task(), FOUR, tmp_path / "small")


class Backwards(Decoder):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in reversed(self.layers):
            x = block(x, turn=(torch.ones(1), torch.zeros(1)), mask=None)[0]
        return self.head(x)


class Caching(Decoder):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.layers[0](self.embed(ids), turn=(torch.ones(1), torch.zeros(1)), mask=object())[0]


@pytest.mark.parametrize(("kind", "reason"), [(Backwards, "in order, once"), (Caching, "called with a object")])
def test_models_whose_blocks_cannot_be_followed_are_refused(
    checkpoint: Path, tmp_path: Path, kind: type[Decoder], reason: str
) -> None:
    with torch.device("meta"):
        model = kind()
    model.angles = torch.ones(8)
    with pytest.raises(ModelError, match=reason):
        stream(model, checkpoint, language_task(), FOUR, tmp_path / "small")


def test_other_settings_data_or_places_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "small")
    changes: list[tuple[Task, Encoder | Mapping[str, Encoder | None]]] = [
        (language_task(), RoundToNearest(bits=5)),
        (language_task(2), FOUR),
    ]
    for task, technique in changes:
        with pytest.raises(ArtifactError, match="other settings"):
            stream(on_meta(), checkpoint, task, technique, tmp_path / "small")
    with pytest.raises(ArtifactError, match="not empty"):
        stream(on_meta(), checkpoint, language_task(), FOUR, checkpoint)
    with pytest.raises(UsageError, match="a pattern that matches"):
        stream(on_meta(), checkpoint, language_task(), {"layer.*": FOUR}, tmp_path / "other")
    with pytest.raises(UsageError, match="samples"):
        stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "other", samples=0)
    with pytest.raises(UsageError, match="blocks"):
        stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "other", blocks="layer")


def test_a_checkpoint_that_does_not_fit_says_where(checkpoint: Path, tmp_path: Path) -> None:
    buffers = Decoder().to("meta")
    with pytest.raises(ModelError, match=r"buffer angles is in no file"):
        stream(buffers, checkpoint, language_task(), FOUR, tmp_path / "a")
    deeper = on_meta(depth=5)
    with pytest.raises(ArtifactError, match=r"no 'layers.4"):
        stream(deeper, checkpoint, language_task(), FOUR, tmp_path / "b")
    wide = on_meta()
    wide.head = nn.Linear(16, 30, bias=False, device="meta")
    with pytest.raises(ModelError, match=r"head.weight has shape \[24, 16\] in the checkpoint"):
        stream(wide, checkpoint, language_task(), FOUR, tmp_path / "c")
    with pytest.raises(ArtifactError, match="no safetensors"):
        stream(on_meta(), tmp_path / "nowhere", language_task(), FOUR, tmp_path / "d")


def test_an_index_may_not_point_outside_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    index = checkpoint / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["head.weight"] = "../other.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="files beside it"):
        stream(on_meta(), checkpoint, language_task(), FOUR, tmp_path / "small")


def test_weights_that_are_not_finite_are_named_by_their_block(tmp_path: Path) -> None:
    model = decoder()
    model.layers[2].o.weight.data[0, 0] = torch.nan
    write_checkpoint(model, tmp_path / "original")
    with pytest.raises(ModelError, match=r"layers\.2: .*o\.weight"):
        stream(on_meta(), tmp_path / "original", language_task(), FOUR, tmp_path / "small")
    assert [part.path for part in Streamed.open(tmp_path / "small").parts] == ["layers.0", "layers.1"]
    assert Plan.load(tmp_path / "small" / "block-00000").recodes


@pytest.mark.parametrize("in_order", [False, True])
def test_layers_that_nothing_reaches_are_named_as_the_whole_model_calls_them(tmp_path: Path, in_order: bool) -> None:
    model = decoder(depth=2)
    model.layers[1].v.weight.data.zero_()
    write_checkpoint(model, tmp_path / "original")
    technique, out = CompensatedRounding(bits=4), tmp_path / "small"
    with pytest.warns(
        UserWarning, match=r"^stream: the calibration data never reached layers\.1\.o\.weight \("
    ) as said:
        found = stream(on_meta(depth=2), tmp_path / "original", language_task(), technique, out, in_order=in_order)
    name, layer = "layers.1.o.weight", next(one for one in layers(model) if one.parameter == "layers.1.o.weight")
    weight = dict(model.named_parameters())[name]
    assert torch.equal(found.load(on_meta(depth=2)).get_parameter(name), technique.encode(weight, layer).decode())
    assert len(said) == 1


def test_without_data_every_weight_is_coded_by_itself_and_it_goes_on_too(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(StopHereError):
        stream(on_meta(), checkpoint, None, Watching("layers.2.up.weight"), tmp_path / "small")
    technique = Watching()
    found = stream(on_meta(), checkpoint, None, technique, tmp_path / "small")
    assert "layers.1.q.weight" not in technique.seen and not any(technique.seen.values())
    small = dict(found.load(on_meta()).named_parameters())
    for layer in layers(decoder()):
        weight = dict(decoder().named_parameters())[layer.parameter]
        assert torch.equal(small[layer.parameter], FOUR.encode(weight, layer).decode()), layer.parameter
    assert {part.error for part in found.parts} == {None} and found.done
    write_checkpoint(decoder(tied=True), tmp_path / "tied")
    tied = stream(on_meta(tied=True), tmp_path / "tied", None, FOUR, tmp_path / "small tied").load(on_meta(tied=True))
    assert tied.head.weight is tied.embed.weight


def test_a_batch_that_the_model_refuses_is_shown(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Decoder refuses a batch with inputs of shape \[1, 2\] \(int64\): index out"):
        stream(on_meta(), checkpoint, Task(evaluate=[torch.tensor([[1, 99]])]), FOUR, tmp_path / "small")
