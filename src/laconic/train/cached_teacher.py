"""A teacher's answers on disk, asked by what a sample is and not by when it comes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, final, get_args

import numpy as np
import torch
from torch import Tensor, nn

from laconic.core.errors import ArtifactError, DataError, invalid
from laconic.core.files import read_json, write_json
from laconic.core.folders import replacing
from laconic.core.task import Batch, Task
from laconic.distill.answering import answering
from laconic.train.sample_keys import Keys, sample_keys

MANIFEST, ANSWERS, CLASSES, SAMPLES = "cache.json", "answers.bin", "classes.bin", "samples.npy"
FILES = (MANIFEST, ANSWERS, CLASSES, SAMPLES)
Precision = Literal["float16", "float32"]
Part = Literal["train", "evaluate", "calibrate"]


def cached_teacher(
    teacher: nn.Module,
    task: Task,
    folder: str | Path,
    *,
    top: int | None = None,
    precision: Precision = "float16",
    part: Part = "train",
) -> CachedTeacher:
    """Asks a teacher once about each sample of a task, and returns one that answers from disk from then on.

    Samples are known by what the teacher is given, so that they may come in another order, in batches of another size
    and in several processes, which share the file's memory. What is there already is used again if teacher and data are
    the same. Augmentation has to repeat (a seed for each sample) or to be left out: a sample that is not in the cache
    is refused.

    Args:
        teacher: left as it is.
        task: how it is called; each of its samples must have an answer of the same shape.
        folder: of the cache; written whole or not at all.
        top: keep the likeliest classes only, and the rest as one mass spread evenly; None: all logits.
        precision: of what is kept.
        part: of the task.

    Returns:
        A module that stands for the teacher wherever only its answers are needed, such as in `laconic.distill`.

    Raises:
        UsageError: an argument outside its domain.
        DataError: answers that differ in shape from sample to sample.
        ArtifactError: the folder holds answers of another teacher, to other samples, or in another form, or is damaged.

    Example:
        >>> import tempfile
        >>> task = Task(train=[torch.ones(4, 2)], evaluate=[torch.ones(4, 2)])
        >>> cached = cached_teacher(nn.Linear(2, 3), task, Path(tempfile.mkdtemp()) / "cache")
        >>> cached(torch.ones(1, 2)).shape, cached.size_bytes
        (torch.Size([1, 3]), 6)
    """
    if top is not None and (not isinstance(top, int) or top < 1):
        raise invalid("cached_teacher.top", top, "a whole number from 1, or None")
    if precision not in get_args(Precision):
        raise invalid("cached_teacher.precision", precision, "'float16' or 'float32'")
    folder = Path(folder)
    wanted = {"teacher": fingerprint(teacher), "precision": precision, "top": top}
    if not (folder / MANIFEST).exists():
        with replacing(folder, FILES) as fresh:
            _write(fresh, teacher, task, part, wanted)
    cached = CachedTeacher(folder)
    cached.check(wanted)
    with torch.no_grad():
        task.forward(cached, next(task.batches(part)))
    return cached


@final
class CachedTeacher(nn.Module):
    """Answers from disk.

    Args:
        folder: what `cached_teacher` has written.

    Raises:
        ArtifactError: it is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_json(self.folder / MANIFEST)
        try:
            self._form = _Form(**self.manifest["form"])
            self._samples = np.load(self.folder / SAMPLES, mmap_mode="r", allow_pickle=False)
            count = len(self._samples)
            self._answers = _mapped(self.folder / ANSWERS, self._form.dtype, (count, self._form.width))
            shape = (count, self._form.top or 0)
            self._classes = _mapped(self.folder / CLASSES, "int32", shape) if self._form.top else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self.folder}: damaged, not readable as a cache of answers ({error}). Delete it to ask anew."
            ) from error

    @property
    def size_bytes(self) -> int:
        """Bytes of the answers, those on the samples' names not counted."""
        return int(self._answers.nbytes) + (0 if self._classes is None else int(self._classes.nbytes))

    def check(self, wanted: Mapping[str, Any]) -> None:
        """Raises an `ArtifactError` unless the answers are what is wanted."""
        for name, value in wanted.items():
            if self.manifest.get(name) != value:
                raise ArtifactError(
                    f"{self.folder}: a cache of another {name}: it was {self.manifest.get(name)}, now it is {value}. "
                    "Choose another folder, or delete this one to ask anew."
                )

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the teacher's answers, float32.

        Raises:
            DataError: a sample is not in the cache.
        """
        rows = self._rows(sample_keys(args, kwargs))
        device = next(t.device for t in (*args, *kwargs.values()) if isinstance(t, Tensor))
        values = torch.from_numpy(self._answers[rows].astype(np.float32))
        if self._classes is not None:
            values = _spread(values, torch.from_numpy(self._classes[rows].astype(np.int64)), self._form)
        return values.view(len(rows), *self._form.shape).to(device)

    def _rows(self, keys: Keys) -> Any:
        places = np.searchsorted(self._samples[:, 0], keys[:, 0]).clip(max=len(self._samples) - 1)
        found = self._samples[places]
        missing = (found[:, :2] != keys).any(1)
        if missing.any():
            raise DataError(
                f"{self.folder}: has no answer for {int(missing.sum())} of {len(keys)} samples, the first at place "
                f"{int(missing.argmax())} of its batch; expected the samples that it was written from. Choose another "
                "folder for other data, and leave random augmentation out."
            )
        return found[:, 2].astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How one sample's answer is kept."""

    shape: list[int]
    dtype: str
    top: int | None

    @property
    def width(self) -> int:
        """Numbers kept for each sample."""
        return math.prod(self.shape) if self.top is None else self.top + 1


class _Asked(nn.Module):
    """Notes which samples its teacher is given."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self.keys: Keys = np.zeros((0, 2), dtype=np.uint64)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.keys = sample_keys(args, kwargs)
        return self.teacher(*args, **kwargs)


def fingerprint(model: nn.Module) -> str:
    """Returns what tells a model from others: its class, and names, shapes and bits of its tensors."""
    found = hashlib.sha256(type(model).__qualname__.encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            plain = tensor.detach().cpu().contiguous()
            found.update(f"{name} {plain.dtype} {list(plain.shape)};".encode())
            found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def _write(folder: Path, teacher: nn.Module, task: Task, part: str, wanted: Mapping[str, Any]) -> None:
    """Asks the teacher about every sample and writes what it says."""
    seen: set[bytes] = set()
    names: list[Keys] = []
    form: _Form | None = None
    with (folder / ANSWERS).open("wb") as answers, (folder / CLASSES).open("wb") as classes:
        for keys, logits in _asked(teacher, task, part):
            now = _Form(shape=list(logits.shape[1:]), dtype=wanted["precision"], top=_top(logits, wanted["top"]))
            if form is not None and now != form:
                raise DataError(
                    f"cached_teacher: the teacher answers in shape {now.shape}, before in {form.shape}; expected one "
                    "shape for all samples. Pad sequences to one length, or do without a cache."
                )
            form = now
            new = _unseen(keys, seen)
            names.append(keys[new])
            _append(answers, classes, logits[new], form)
    if form is None:
        raise DataError(f"Task.{part}: the loader yields no samples; expected at least one. Check its data set.")
    every = np.concatenate(names)
    order = np.lexsort((every[:, 1], every[:, 0]))
    np.save(folder / SAMPLES, np.column_stack([every[order], order.astype(np.uint64)]), allow_pickle=False)
    write_json(folder / MANIFEST, {**wanted, "form": vars(form)})


def _unseen(keys: Keys, seen: set[bytes]) -> list[int]:
    """Returns the places of keys that were not seen, which from now on they are."""
    new = []
    for i, key in enumerate(keys):
        if key.tobytes() not in seen:
            seen.add(key.tobytes())
            new.append(i)
    return new


def _asked(teacher: nn.Module, task: Task, part: str) -> Iterator[tuple[Keys, Tensor]]:
    """Yields the keys and logits of each batch."""
    asked = _Asked(teacher)
    with answering(asked) as device:
        for batch in task.batches(part):
            yield _answered(asked, task, batch.to(device))


def _answered(asked: _Asked, task: Task, batch: Batch) -> tuple[Keys, Tensor]:
    logits = task.forward(asked, batch).float().cpu()
    if len(logits) != len(asked.keys):
        raise DataError(
            f"cached_teacher: {len(asked.keys)} samples have {len(logits)} answers; expected one for each sample."
        )
    return asked.keys, logits


def _top(logits: Tensor, top: int | None) -> int | None:
    if top is not None and logits.dim() != 2:
        raise invalid("cached_teacher.top", top, "None for answers that are no [samples, classes]")
    return None if top is None or top >= logits.shape[1] - 1 else top


def _append(answers: BinaryIO, classes: BinaryIO, logits: Tensor, form: _Form) -> None:
    if form.top is None:
        answers.write(logits.flatten(1).numpy().astype(form.dtype).tobytes())
        return
    nats = logits.log_softmax(-1)
    kept = nats.topk(form.top)
    rest = nats.scatter(-1, kept.indices, -torch.inf).logsumexp(-1, keepdim=True)
    answers.write(torch.cat([kept.values, rest], -1).numpy().astype(form.dtype).tobytes())
    classes.write(kept.indices.numpy().astype(np.int32).tobytes())


def _spread(values: Tensor, classes: Tensor, form: _Form) -> Tensor:
    """Returns logits in which every class that was not kept has the same share of the rest."""
    others = form.shape[0] - classes.shape[1]
    each = (values[:, -1:] - math.log(others)).expand(-1, form.shape[0])
    return each.scatter(-1, classes, values[:, :-1])


def _mapped(path: Path, dtype: str, shape: tuple[int, int]) -> Any:
    wanted, there = math.prod(shape) * np.dtype(dtype).itemsize, path.stat().st_size
    if there != wanted:
        raise ValueError(f"{path.name} has {there} bytes, expected {wanted}")
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)
