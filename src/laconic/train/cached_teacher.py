"""A teacher's answers on disk, asked by what a sample is and not by when it comes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final, get_args

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from laconic.core.errors import ArtifactError, DataError, LaconicError, check_whole, invalid
from laconic.core.files import read_json
from laconic.core.folders import replacing
from laconic.core.task import Task
from laconic.train.cache_form import Form, Precision, Rows
from laconic.train.cache_writing import (
    ANSWERS,
    FILES,
    MANIFEST,
    SAMPLES,
    Part,
    asked,
    counted_samples,
    sealed_text,
    write_cache,
)
from laconic.train.describe import describe
from laconic.train.repeated import Repeated
from laconic.train.sample_keys import Keys, sample_keys
from laconic.train.seal import SALT_BYTES, TAG_BYTES, Seal

LAYOUT, CIPHER = 2, "AES-256-GCM"


def cached_teacher(
    teacher: nn.Module,
    task: Task,
    folder: str | Path,
    *,
    top: int | None = None,
    precision: Precision = "float16",
    part: Part = "train",
    augment: Repeated | None = None,
    encrypted: bool = False,
) -> CachedTeacher:
    """Asks a teacher once about each sample of a task, and returns one that answers from disk from then on.

    Samples are known by what the teacher is given, so that they may come in another order, in batches of another size
    and in several processes, which share the file's memory; where several start at once, one of them writes. What is
    there already is used again if teacher and data are the same. A sample that is not in the cache is refused, so
    augmentation has to repeat: give the same `augment` here and to `laconic.distill(augment=[...])`.

    Args:
        teacher: left as it is.
        task: how it is called; each of its samples must have an answer of the same shape.
        folder: of the cache; written whole or not at all. `cache_bytes` tells its size before.
        top: keep the likeliest classes only, and the rest as one mass spread evenly; None: all logits.
        precision: of what is kept.
        part: of the task.
        augment: the teacher is asked about every sample in each of its ways; its seed is kept.
        encrypted: with AES-GCM, under the key in the environment's `LACONIC_CACHE_KEY`: 64 hexadecimal digits. Soft
            labels tell something of the data they were made from.

    Returns:
        A module that stands for the teacher wherever only its answers are needed, such as in `laconic.distill`.

    Raises:
        UsageError: an argument outside its domain, or no key.
        DataError: answers that differ in shape from sample to sample.
        ArtifactError: the folder holds answers of another teacher, to other samples, in another form or under another
            key, or is damaged; it stays as it is.

    Example:
        >>> import tempfile
        >>> task = Task(train=[torch.ones(4, 2)], evaluate=[torch.ones(4, 2)])
        >>> cached = cached_teacher(nn.Linear(2, 3), task, Path(tempfile.mkdtemp()) / "cache")
        >>> cached(torch.ones(1, 2)).shape, cached.size_bytes
        (torch.Size([1, 3]), 6)
    """
    _check(top, precision)
    folder = Path(folder)
    wanted = {
        "layout": LAYOUT,
        "teacher": fingerprint(teacher),
        "precision": precision,
        "top": top,
        "augmentation": None if augment is None else describe(augment),
        "encryption": CIPHER if encrypted else None,
    }
    if not (folder / MANIFEST).exists():
        seal = Seal(os.urandom(SALT_BYTES)) if encrypted else None
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.absolute().with_name(f".{folder.name}.lock")):
            if not (folder / MANIFEST).exists():
                with replacing(folder, FILES) as fresh:
                    write_cache(fresh, teacher, task, part, wanted, augment, seal)
    cached = CachedTeacher(folder, wanted)
    with torch.no_grad():
        first = next(task.batches(part))
        task.forward(cached, first if augment is None else augment.variant(first, 0))
    return cached


def cache_bytes(
    teacher: nn.Module,
    task: Task,
    *,
    top: int | None = None,
    precision: Precision = "float16",
    part: Part = "train",
    augment: Repeated | None = None,
    encrypted: bool = False,
) -> int:
    """Returns the bytes that the answers of `cached_teacher` will take, of which it asks the teacher one batch only.

    The data is walked once, as samples that occur twice are kept once. The samples' names take 24 bytes each besides.
    """
    _check(top, precision)
    _, logits = next(asked(teacher, task, part, augment))
    form = Form.of(logits, precision, top)
    return counted_samples(task, part, augment) * (form.row_bytes + TAG_BYTES * encrypted)


@final
class CachedTeacher(nn.Module):
    """Answers from disk.

    Args:
        folder: what `cached_teacher` has written.
        wanted: what its manifest must say; None: anything.

    Raises:
        UsageError: it is encrypted, and the environment holds no key.
        ArtifactError: it is missing, damaged, not what is wanted, or was written with another key.
    """

    def __init__(self, folder: str | Path, wanted: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_json(self.folder / MANIFEST)
        self._check(wanted or {})
        try:
            self._form = Form(**self.manifest["form"])
            self._seal = Seal(bytes.fromhex(self.manifest["salt"])) if self.manifest["encryption"] else None
            if self._seal is not None:
                self._check_key(self._seal)
            # Plain arrays over the file's memory: those of `numpy.memmap` are slow to index.
            names = np.asarray(np.load(self.folder / SAMPLES, mmap_mode="r", allow_pickle=False))
            self._first, self._second, self._places = names
            record = self._form.row_bytes + TAG_BYTES * (self._seal is not None)
            self._records = _mapped(self.folder / ANSWERS, (names.shape[1], record))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, LaconicError):
                raise
            raise ArtifactError(
                f"{self.folder}: damaged, not readable as a cache of answers ({error}). Delete it to ask anew."
            ) from error

    @property
    def size_bytes(self) -> int:
        """Bytes of the answers, those on the samples' names not counted."""
        return int(self._records.nbytes)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the teacher's answers, float32.

        Raises:
            DataError: a sample is not in the cache.
            ArtifactError: an encrypted answer is not what was written.
        """
        keys = sample_keys(args, kwargs)
        rows = self._rows(keys if self._seal is None else self._seal.names(keys))
        device = next(t.device for t in (*args, *kwargs.values()) if isinstance(t, Tensor))
        return self._form.unpack(self._read(rows)).to(device)

    def _read(self, rows: Any) -> Rows:
        records: Rows = self._records[rows]
        if self._seal is None:
            return records
        try:
            opened = [self._seal.open(int(row), record.tobytes()) for row, record in zip(rows, records, strict=True)]
        except ArtifactError as error:
            raise ArtifactError(f"{self.folder}: damaged: {error} Delete it to ask anew.") from error
        return np.frombuffer(bytearray(b"".join(opened)), dtype=np.uint8).reshape(len(opened), -1)

    def _rows(self, keys: Keys) -> Any:
        first, second = keys[:, 0], keys[:, 1]
        places = np.minimum(self._first.searchsorted(first), len(self._first) - 1)
        known = (self._first[places] == first) & (self._second[places] == second)
        if not known.all():
            raise DataError(
                f"{self.folder}: has no answer for {int((~known).sum())} of {len(keys)} samples, the first at place "
                f"{int(known.argmin())} of its batch; expected the samples that it was written from. Choose another "
                "folder for other data; write it with the augmentation that is used, `Repeated(...)`."
            )
        return self._places[places].astype(np.int64)

    def _check(self, wanted: Mapping[str, Any]) -> None:
        for name, value in wanted.items():
            if self.manifest.get(name) != value:
                raise ArtifactError(
                    f"{self.folder}: a cache of another {name}: it was {self.manifest.get(name)}, now it is {value}. "
                    "Choose another folder, or delete this one to ask anew."
                )

    def _check_key(self, seal: Seal) -> None:
        if seal.proof(sealed_text(self.manifest)) != self.manifest["proof"]:
            raise ArtifactError(
                f"{self.folder}: was written with another key than LACONIC_CACHE_KEY holds, or its {MANIFEST} was "
                "changed; nothing was read. Set the key that it was written with."
            )


def fingerprint(model: nn.Module) -> str:
    """Returns what tells a model from others: its class, and names, shapes and bits of its tensors."""
    found = hashlib.sha256(type(model).__qualname__.encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            plain = tensor.detach().cpu().contiguous()
            found.update(f"{name} {plain.dtype} {list(plain.shape)};".encode())
            found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def _check(top: int | None, precision: str) -> None:
    if top is not None:
        check_whole("cached_teacher.top", top, 1)
    if precision not in get_args(Precision):
        raise invalid("cached_teacher.precision", precision, "'float16' or 'float32'")


def _mapped(path: Path, shape: tuple[int, int]) -> Rows:
    wanted, there = shape[0] * shape[1], path.stat().st_size
    if there != wanted:
        raise ValueError(f"{path.name} has {there} bytes, expected {wanted}")
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r", shape=shape))
