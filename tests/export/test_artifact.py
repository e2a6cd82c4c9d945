"""An artifact that is whole verifies; one that differs in a byte, a file or a name is refused, with the name."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from laconic.core.apply import apply
from laconic.core.errors import ArtifactError
from laconic.core.files import sha256, write_tensors
from laconic.core.folders import check_replaceable, replacing
from laconic.core.plan import Plan
from laconic.core.task import Batch
from laconic.export.artifact import (
    FILES,
    MANIFEST,
    Vectors,
    check_files,
    load_into,
    read_manifest,
    read_vectors,
    verify,
    write_artifact,
)
from laconic.export.onnxruntime import Session, export

from .samples import TASK, recoded

ALL = (MANIFEST, *FILES)


def network(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 3)).eval()


@cache
def parts() -> tuple[bytes, nn.Module, Plan, Vectors]:
    """What an artifact is made of: the exported model, the network, its plan, test vectors."""
    model = network()
    plan = recoded(model)
    compressed = apply(model, plan)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        path = export(compressed, plan, TASK, Batch(args=(x,)), Path(folder) / "model.onnx").path
        output = Session(path).run([x.numpy()])
        return path.read_bytes(), compressed, plan, Vectors(inputs=[x.numpy()], output=output)


def write(folder: Path, **facts: Any) -> Path:
    content, compressed, plan, vectors = parts()
    with tempfile.TemporaryDirectory() as elsewhere:
        model = Path(elsewhere) / "model.onnx"
        model.write_bytes(content)
        write_artifact(folder, model=model, network=compressed, plan=plan, vectors=vectors, facts=facts)
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write(tmp_path / "artifact", met=True)


def reseal(artifact: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrites the manifest the way Laconic does, as somebody who means harm can."""
    content = json.loads((artifact / MANIFEST).read_text())
    content.pop("seal")
    change(content)

    def canonical(value: dict[str, Any]) -> bytes:
        return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()

    (artifact / MANIFEST).write_bytes(canonical({**content, "seal": sha256(canonical(content))}))


def replace_file(artifact: Path, name: str, content: bytes) -> None:
    """Replaces a file, with a manifest that agrees."""
    (artifact / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": sha256(content)}
    reseal(artifact, lambda manifest: manifest["files"].update({name: entry}))


def test_what_was_written_verifies(artifact: Path) -> None:
    found = verify(artifact)
    assert (found.files, found.samples, found.tolerance) == (6, 4, 1e-3)
    assert found.max_error <= 1e-6
    assert sorted(path.name for path in artifact.iterdir()) == sorted(ALL)
    assert read_manifest(artifact)["met"] is True


def test_the_network_comes_back_bit_for_bit_into_a_model_with_other_weights(artifact: Path) -> None:
    other = network()
    nn.init.zeros_(other[0].weight)
    loaded = load_into(other, artifact)
    expected = parts()[1].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert not other[0].weight.any()


@pytest.mark.parametrize("other", [network(width=9), nn.Linear(5, 3), nn.Sequential(*network(), nn.Linear(3, 3))])
def test_another_architecture_is_refused(artifact: Path, other: nn.Module) -> None:
    with pytest.raises(ArtifactError, match=r"another model|does not fit the model"):
        load_into(other, artifact)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(artifact: Path, name: str) -> None:
    whole = (artifact / name).read_bytes()
    drawn = np.random.default_rng(0).integers(len(whole), size=60)
    for place in {0, 1, 7, 8, len(whole) - 1, *map(int, drawn)}:
        for mask in (1, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= mask
            (artifact / name).write_bytes(damaged)
            with pytest.raises(ArtifactError, match=f"{name}: damaged"):
                check_files(artifact)
    (artifact / name).write_bytes(whole)
    verify(artifact)


def test_a_flip_of_any_byte_of_the_manifest_is_found(artifact: Path) -> None:
    path = artifact / MANIFEST
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= (1, 0x20, 0x80)[place % 3]  # 0x20 makes capitals of small letters.
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=MANIFEST):
            read_manifest(artifact)


@pytest.mark.parametrize("name", ALL)
def test_a_truncated_or_missing_file_is_named(artifact: Path, name: str) -> None:
    whole = (artifact / name).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (artifact / name).write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=name):
            verify(artifact)
    (artifact / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        verify(artifact)


def test_a_file_that_does_not_belong_is_named(artifact: Path) -> None:
    (artifact / "run_me.py").write_text("print('no')")
    with pytest.raises(ArtifactError, match=r"run_me\.py: does not belong"):
        verify(artifact)


@pytest.mark.parametrize("name", ALL)
def test_a_link_is_refused_even_to_the_right_content(artifact: Path, tmp_path: Path, name: str) -> None:
    (artifact / name).rename(tmp_path / name)
    (artifact / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match=f"{name}: does not belong"):
        verify(artifact)


def test_a_pipe_in_the_place_of_a_file_does_not_make_it_wait(artifact: Path) -> None:
    (artifact / MANIFEST).unlink()
    os.mkfifo(artifact / MANIFEST)
    with pytest.raises(ArtifactError, match="does not belong"):
        verify(artifact)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/passwd", "more.bin"])
def test_a_manifest_that_names_other_files_is_refused(artifact: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.bin").write_bytes(b"x")
    reseal(artifact, lambda manifest: manifest["files"].update({name: {"bytes": 1, "sha256": sha256(b"x")}}))
    with pytest.raises(ArtifactError, match=r"manifest\.json: names other files"):
        verify(artifact)


@pytest.mark.parametrize("location", ["../secret.bin", "{secret}"])
def test_a_model_that_reaches_for_a_file_outside_is_refused(artifact: Path, tmp_path: Path, location: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.zeros(3, np.float32).tobytes())
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location.format(secret=secret), "offset": "0", "length": "12"}.items():
        weight.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "thief", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    replace_file(artifact, "model.onnx", model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"model\.onnx: cannot be loaded"):
        verify(artifact)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"null", b'{"seal": 1}', b"\xff\xfe", b"[" * 100_000, b'{"seal": "x", "a": NaN}']
)
def test_a_manifest_of_nonsense_is_one_clear_error(artifact: Path, content: bytes) -> None:
    (artifact / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json: damaged"):
        verify(artifact)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.update(format=2), "another version"),
        (lambda manifest: manifest.pop("format"), "another version"),
        (lambda manifest: manifest.pop("files"), "names other files"),
        (lambda manifest: manifest.update(files=[1]), "names other files"),
        (lambda manifest: manifest.pop("tolerance"), "tolerance"),
        (lambda manifest: manifest.update(tolerance="much"), "tolerance"),
    ],
)
def test_a_sealed_manifest_of_another_kind_is_one_clear_error(artifact: Path, change: Any, words: str) -> None:
    reseal(artifact, change)
    with pytest.raises(ArtifactError, match=words):
        verify(artifact)


def test_outputs_that_differ_from_the_stored_ones_are_said_with_how_much(artifact: Path, tmp_path: Path) -> None:
    content, compressed, plan, vectors = parts()
    wrong = Vectors(inputs=vectors.inputs, output=vectors.output + 0.01 * np.ptp(vectors.output))
    (tmp_path / "model.onnx").write_bytes(content)
    write_artifact(
        tmp_path / "wrong", model=tmp_path / "model.onnx", network=compressed, plan=plan, vectors=wrong, facts={}
    )
    with pytest.raises(ArtifactError, match=r"differ from the stored ones by 1\.0\d% of their range"):
        verify(tmp_path / "wrong")


def test_vectors_of_another_size_are_written_read_and_run_too(tmp_path: Path) -> None:
    content, compressed, plan, vectors = parts()
    other = Vectors(inputs=[vectors.inputs[0][:2]], output=vectors.output[:2])
    both = Vectors(inputs=vectors.inputs, output=vectors.output, other=other)
    (tmp_path / "model.onnx").write_bytes(content)
    for name, given in (("right", both), ("wrong", replace(both, other=replace(other, output=other.output + 1)))):
        folder = tmp_path / name
        write_artifact(folder, model=tmp_path / "model.onnx", network=compressed, plan=plan, vectors=given, facts={})
        assert np.array_equal(read_vectors(folder).each[1].output, given.each[1].output)
    assert verify(tmp_path / "right").samples == 6
    with pytest.raises(ArtifactError, match="its outputs differ from the stored ones"):
        verify(tmp_path / "wrong")


@pytest.mark.parametrize("output", [np.full((4, 3), np.nan), np.zeros((4, 2)), np.zeros((0, 3))])
def test_vectors_that_make_no_sense_are_refused(artifact: Path, output: np.ndarray) -> None:
    x = torch.from_numpy(parts()[3].inputs[0])
    write_tensors(artifact / "vectors.safetensors", {"input.0": x, "output": torch.from_numpy(output).float()})
    replace_file(artifact, "vectors.safetensors", (artifact / "vectors.safetensors").read_bytes())
    with pytest.raises(ArtifactError):
        verify(artifact)


def test_no_folder_at_all_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere: is no artifact"):
        verify(tmp_path / "nowhere")


@contextmanager
def failing(call: str, at: int) -> Iterator[list[int]]:
    """Makes the call fail with a full disk at its `at`-th time; counts them."""
    module, _, name = call.rpartition(".")
    real = getattr({"os": os, "pathlib.Path": Path}[module], name)
    count = [0]

    def fail(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    with patch(call, fail):
        yield count


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.mkdir"])
@pytest.mark.parametrize("older", [False, True])
def test_a_disk_that_is_full_at_any_write_leaves_nothing_new_and_the_old_whole(
    tmp_path: Path, call: str, older: bool
) -> None:
    place = tmp_path / "out" / "artifact"
    if older:
        write(place, age="old")
    with failing(call, at=0) as count:
        write(tmp_path / "count" / "artifact")
    before = sorted(path.name for path in place.parent.iterdir()) if older else []
    assert count[0] >= 1
    for at in range(1, count[0] + 1):
        with failing(call, at), pytest.raises(ArtifactError, match="No space left on device"):
            write(place)
        left = sorted(path.name for path in place.parent.iterdir()) if place.parent.exists() else []
        assert left == before
        assert not older or (verify(place) and read_manifest(place)["age"] == "old")


def test_an_older_artifact_is_replaced(artifact: Path) -> None:
    write(artifact, age="new")
    assert read_manifest(artifact)["age"] == "new"
    assert [path.name for path in artifact.parent.iterdir()] == ["artifact"]


def test_if_the_last_renaming_fails_the_old_folder_is_put_back(artifact: Path) -> None:
    real, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == "artifact":
            calls.append(target)
            if len(calls) == 1:
                raise KeyboardInterrupt
        return real(self, target)

    with patch("pathlib.Path.replace", replace), pytest.raises(KeyboardInterrupt):
        write(artifact, age="new")
    assert "age" not in read_manifest(artifact) and verify(artifact)
    assert [path.name for path in artifact.parent.iterdir()] == ["artifact"]


def test_a_folder_with_the_users_own_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(ArtifactError, match=r"holds 'thesis\.tex', which is not Laconic's"):
        write(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "..."


def test_a_file_or_a_link_in_the_place_of_the_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(ArtifactError, match=f"{name}: is not a folder"):
            write(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "link").is_symlink()


def test_a_place_that_cannot_be_written_is_known_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write(tmp_path / "file" / "below")
    with pytest.raises(ArtifactError, match="cannot be written"):
        check_replaceable(tmp_path / "file" / "deep" / "below", ())


def test_looking_whether_a_place_can_be_written_leaves_nothing_there(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "a" / "b", ())
    assert list(tmp_path.iterdir()) == []


def test_the_folder_has_the_rights_that_new_folders_have(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    with replacing(tmp_path / "ours", ()):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_copy_verifies_wherever_it_lies(artifact: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(artifact, tmp_path / "中 文" / "copy")
    assert verify(copied) == verify(str(artifact))
