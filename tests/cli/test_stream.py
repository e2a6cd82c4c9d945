"""`laconic stream` as a shell runs it, and what it reads models and text from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from laconic.cli.structures import load_structure, load_tokens
from laconic.core.errors import ArtifactError, DataError, ModelError, UsageError
from laconic.streaming import Streamed
from streaming.decoders import Decoder, decoder, on_meta, write_checkpoint

from .conftest import Laconic

MODEL = ("--model", "streaming.decoders:decoder")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(decoder(), tmp_path / "original")
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 24, (8, 12)))
    return tmp_path / "original"


def test_a_checkpoint_becomes_packed_shards_and_the_same_command_goes_on(laconic: Laconic, checkpoint: Path) -> None:
    out = checkpoint.parent / "small"
    command = ("stream", checkpoint, *MODEL, "--data", checkpoint.parent / "ids.npy", "--out", out)
    command = (*command, "--bits", 3, "--per", 8, "--around-bits", 8, "--keep", "*.o.weight", "--samples", 4)
    found = laconic(*command, "--json").json
    assert [part["path"] for part in found["parts"]] == [*(f"layers.{i}" for i in range(4)), ""]
    assert found["bytes"][1] == sum(path.stat().st_size for path in out.glob("*/*"))
    assert found["finished_before"] == 0 and 0 < found["parts"][0]["error"] < 0.1
    plans = {part.path: {e.parameter: str(e.coding) for e in plan.recodes} for part, plan in Streamed.open(out).plans()}
    assert plans["layers.1"]["q.weight"] == "3-bit symmetric grid per group of 8"
    assert "o.weight" not in plans["layers.1"]
    assert plans[""]["head.weight"] == "8-bit symmetric grid per channel"
    assert Streamed.open(out).load(on_meta())(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all()
    again = laconic(*command)
    assert again.code == 0 and again.err == "" and "5 of 5 parts were finished before" in again.out


def test_without_data_nothing_is_run_and_each_weight_is_coded_by_itself(laconic: Laconic, checkpoint: Path) -> None:
    out = checkpoint.parent / "small"
    ran = laconic("stream", checkpoint, *MODEL, "--technique", "nf4", "--per", 8, "--out", out)
    assert ran.code == 0 and ran.err == "" and "around the blocks" in ran.out and "answers off" not in ran.out
    assert {str(e.coding) for _, plan in Streamed.open(out).plans() for e in plan.recodes} == {
        "nf4 values per group of 8"
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--technique", "luck"), "stream.technique: got 'luck'; expected one of nearest, compensated"),
        (("--technique", "sparse"), "stream.sparsity: got None; expected a share of zeros"),
        (("--technique", "sparse", "--sparsity", 1), "sparsity: got 1.0"),
        (("--sparsity", 0.5), "stream.sparsity: got 0.5; expected none"),
        (("--technique", "nf4", "--bits", 3), "stream.bits: got 3; expected 4, what nf4 has"),
        (("--bits", 9), "bits: got 9; expected a whole number from 2 to 8"),
        (("--per", "row"), "per: got 'row'"),
        (("--keep", "layer.*"), "got 'layer.*'; expected a pattern that matches"),
        (("--blocks", "layer"), "stream.blocks: got 'layer'"),
        (("--in-order",), "stream.in_order: got True; expected False where there is no task"),
        (("--model", "nets:no_module"), "stream.model: nets:no_module returned str"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_is_written(
    laconic: Laconic, checkpoint: Path, options: tuple[object, ...], said: str
) -> None:
    out = checkpoint.parent / "small"
    ran = laconic("stream", checkpoint, *MODEL, "--out", out, *options)
    assert ran.code == 2 and said in ran.line and not out.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(np.full((2, 4), 99), "refuses a batch"), (np.zeros(4), "expected token ids"), (np.zeros(3, int), "holds 3 tok")],
)
def test_tokens_that_do_not_fit_are_refused(laconic: Laconic, checkpoint: Path, content: np.ndarray, said: str) -> None:
    np.save(checkpoint.parent / "ids.npy", content)
    ran = laconic("stream", checkpoint, *MODEL, "--data", checkpoint.parent / "ids.npy", "--out", checkpoint / "small")
    assert ran.code == 1 and said in ran.line


def test_rows_of_tokens_are_cut_and_a_rest_is_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(22).reshape(2, 11))
    rows = [batch.args[0].tolist() for batch in load_tokens(tmp_path / "ids.npy", tmp_path, 5).batches("calibrate")]
    assert rows == [[[*range(5)]], [[*range(5, 10)]], [[*range(11, 16)]], [[*range(16, 21)]]]
    assert len(list(load_tokens(tmp_path / "ids.npy", tmp_path, 50).evaluate)) == 2


class Words:
    """Stands for a tokenizer: a character is a token."""

    @staticmethod
    def from_pretrained(folder: Path, **settings: bool) -> Words:
        assert settings == {"local_files_only": True, "trust_remote_code": False}
        if not (folder / "tokenizer.json").exists():
            raise OSError("no tokenizer.json")
        return Words()

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


class Config:
    @staticmethod
    def from_pretrained(folder: Path, **settings: bool) -> SimpleNamespace:
        return SimpleNamespace(**json.loads((folder / "config.json").read_text()))


def made(config: SimpleNamespace) -> nn.Module:
    assert config.use_cache is False
    return Decoder(config.depth, tied=True)


Described = type("Described", (Decoder,), {"__new__": lambda kind, config: made(config)})
LIBRARY = SimpleNamespace(AutoConfig=Config, AutoTokenizer=Words, Described=Described, pipeline=print, __version__="0")


def test_a_folder_that_describes_its_model_needs_no_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", LIBRARY)
    (tmp_path / "config.json").write_text('{"architectures": ["Described"], "depth": 3}')
    found = load_structure(None, tmp_path)
    assert all(p.is_meta for p in found.parameters()) and len(found.layers) == 3
    assert found.head.weight is found.embed.weight and not found.angles.is_meta
    (tmp_path / "text.txt").write_text("abcdefg")
    with pytest.raises(DataError, match=r"no tokenizer that can be read \(OSError: no tokenizer"):
        load_tokens(tmp_path / "text.txt", tmp_path, 3)
    (tmp_path / "tokenizer.json").write_text("")
    found_rows = [batch.args[0].tolist() for batch in load_tokens(tmp_path / "text.txt", tmp_path, 3).evaluate]
    assert found_rows == [[[97, 98, 99]], [[100, 101, 102]]]


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        ("", ArtifactError, "names no architecture"),
        ("{}", ArtifactError, "names no architecture"),
        ('{"architectures": ["Other"]}', ModelError, "has no 'Other'"),
        ('{"architectures": ["pipeline"]}', ModelError, "has no 'pipeline'"),
        ('{"architectures": ["Described"]}', ModelError, "cannot be built by transformers"),
    ],
)
def test_a_description_that_will_not_do_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, error: type[Exception], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", LIBRARY)
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(error, match=said):
        load_structure(None, tmp_path)


def test_where_the_library_is_missing_the_other_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"architectures": ["Described"]}')
    with pytest.raises(UsageError, match="--model module:function"):
        load_structure(None, tmp_path)
    with pytest.raises(ArtifactError, match="is no folder"):
        load_structure(None, tmp_path / "nowhere")
