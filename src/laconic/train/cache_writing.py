"""How a cache of answers comes to be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from laconic.core.errors import DataError
from laconic.core.files import write_json
from laconic.core.task import Batch, Task
from laconic.distill.answering import answering
from laconic.train.cache_form import Form, Rows
from laconic.train.repeated import Repeated
from laconic.train.sample_keys import Keys, sample_keys
from laconic.train.seal import Seal

MANIFEST, ANSWERS, SAMPLES = "cache.json", "answers.bin", "samples.npy"
FILES = (MANIFEST, ANSWERS, SAMPLES)
Part = Literal["train", "evaluate", "calibrate"]


def write_cache(
    folder: Path,
    teacher: nn.Module,
    task: Task,
    part: Part,
    wanted: Mapping[str, Any],
    augment: Repeated | None,
    seal: Seal | None,
) -> None:
    """Asks the teacher about every sample and writes what it says.

    Raises:
        DataError: answers that differ in shape, or no samples.
    """
    seen = _Seen()
    form: Form | None = None
    with (folder / ANSWERS).open("wb") as file:
        for keys, logits in asked(teacher, task, part, augment):
            now = Form.of(logits, wanted["precision"], wanted["top"])
            if form is not None and now != form:
                raise DataError(
                    f"cached_teacher: the teacher answers in shape {now.shape}, before in {form.shape}; expected one "
                    "shape for all samples. Pad sequences to one length, or do without a cache."
                )
            form, begun = now, seen.count
            file.write(_sealed(form.pack(logits[seen.new(keys)]), begun, seal))
    if form is None:
        raise DataError(f"Task.{part}: the loader yields no samples; expected at least one. Check its data set.")
    names = seen.keys() if seal is None else seal.names(seen.keys())
    order = np.lexsort((names[:, 1], names[:, 0]))
    np.save(folder / SAMPLES, np.stack([names[order, 0], names[order, 1], order.astype(np.uint64)]), allow_pickle=False)
    manifest = {**wanted, "form": vars(form), "samples": seen.count}
    if seal is not None:
        manifest["salt"] = seal.salt.hex()
        manifest["proof"] = seal.proof(sealed_text(manifest))
    write_json(folder / MANIFEST, manifest)


def sealed_text(manifest: Mapping[str, Any]) -> str:
    """Returns what a manifest says, but for the proof that it says it."""
    return json.dumps({name: value for name, value in manifest.items() if name != "proof"}, sort_keys=True)


def asked(teacher: nn.Module, task: Task, part: Part, augment: Repeated | None) -> Iterator[tuple[Keys, Tensor]]:
    """Yields the keys and logits of each batch, in each way of the augmentation.

    Raises:
        DataError: a batch has another number of answers than of samples.
    """
    spy = _Asked(teacher)
    with answering(spy) as device:
        for batch in _batches(task, part, augment):
            logits = task.forward(spy, batch.to(device)).float().cpu()
            if len(logits) != len(spy.keys):
                raise DataError(
                    f"cached_teacher: {len(spy.keys)} samples have {len(logits)} answers; expected one for each."
                )
            yield spy.keys, logits


def counted_samples(task: Task, part: Part, augment: Repeated | None) -> int:
    """Returns how many samples that differ a teacher would be asked about; it is not asked."""
    seen, spy = _Seen(), _Asked(None)
    for batch in _batches(task, part, augment):
        try:
            task.call(spy, batch)
        except _HeardError:
            seen.new(spy.keys)
    return seen.count


def _batches(task: Task, part: Part, augment: Repeated | None) -> Iterator[Batch]:
    for batch in task.batches(part):
        if augment is None:
            yield batch
        else:
            yield from (augment.variant(batch, number) for number in range(augment.variants))


def _sealed(rows: Rows, begun: int, seal: Seal | None) -> bytes:
    if seal is None:
        return rows.tobytes()
    return b"".join(seal.close(number, row.tobytes()) for number, row in enumerate(rows, start=begun))


class _HeardError(Exception):
    """The samples are known, and that was all."""


class _Asked(nn.Module):
    """Notes which samples its teacher is given."""

    def __init__(self, teacher: nn.Module | None) -> None:
        super().__init__()
        self.teacher = teacher
        self.keys: Keys = np.zeros((0, 2), dtype=np.uint64)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.keys = sample_keys(args, kwargs)
        if self.teacher is None:
            raise _HeardError
        return self.teacher(*args, **kwargs)


class _Seen:
    """The samples so far, each once."""

    def __init__(self) -> None:
        self._keys: dict[bytes, None] = {}

    @property
    def count(self) -> int:
        return len(self._keys)

    def new(self, keys: Keys) -> list[int]:
        """Returns the places of keys that were not seen, which from now on they are."""
        places = []
        for place, key in enumerate(keys):
            if (name := key.tobytes()) not in self._keys:
                self._keys[name] = None
                places.append(place)
        return places

    def keys(self) -> Keys:
        return np.frombuffer(b"".join(self._keys), dtype=np.uint64).reshape(-1, 2)
