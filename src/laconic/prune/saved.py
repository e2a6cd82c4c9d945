"""A pruned model on disk: plan and weights, from which the original class gives it back in any process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeGuard

from torch import Tensor, nn

from laconic.core.apply import free_parameter
from laconic.core.codings import Dense
from laconic.core.edit import Edit, Recode, Rewrite
from laconic.core.errors import ArtifactError, ModelError, UsageError
from laconic.core.files import read_bytes, read_json, sha256, write_json
from laconic.core.folders import replacing
from laconic.core.plan import PLAN_FILE, TENSOR_FILE, Plan
from laconic.core.state import WEIGHTS, load_state, save_state

Kind = Literal["module", "graph"]
FORMAT = 1
DESCRIPTION = "pruned.json"
FILES = (PLAN_FILE, TENSOR_FILE, WEIGHTS)


class Loaded(NamedTuple):
    """A pruned model that was read back.

    Args:
        model: the pruned model, in eval mode.
        plan: what leads from the original to it.
        kind: `module` or `graph`, as in `Pruned`.
        notes: those of `Pruned`.
    """

    model: nn.Module
    plan: Plan
    kind: Kind
    notes: tuple[str, ...]


def save_pruned(
    folder: str | Path,
    name: str,
    original: Mapping[str, Tensor],
    model: nn.Module,
    plan: Plan,
    *,
    kind: Kind,
    notes: Sequence[str] = (),
) -> Path:
    """Writes a pruned model, whole or not at all; an older one under the same name is replaced.

    Args:
        folder: its place.
        name: class of the original.
        original: parameters and buffers of the original, each under its first name.
        model: the pruned model as it is now, perhaps trained or quantised since.
        plan: all that leads from the original to it; its uncoded values are taken from the model.
        kind: as in `Pruned`.
        notes: kept with it.

    Raises:
        ModelError: the plan does not lead to the model, so that it could not be read back.
        ArtifactError: the disk is full, or the folder cannot be written or holds something else.
    """
    if kind == "graph" and not any(isinstance(edit, Rewrite) for edit in plan):
        raise ModelError(
            f"Pruned.save: {name} has become a graph that its plan does not hold. {' '.join(notes)}".strip()
        )
    folder = Path(folder)
    with replacing(folder, {DESCRIPTION, *FILES}) as fresh:
        save_state(fresh, model, _up_to_date(plan, model))
        content = {
            "format": FORMAT,
            "model": name,
            "shapes": {path: list(tensor.shape) for path, tensor in original.items()},
            "kind": kind,
            "notes": list(notes),
            "sha256": {file: sha256(read_bytes(fresh / file)) for file in FILES},
        }
        write_json(fresh / DESCRIPTION, content)
    return folder


def load_pruned(folder: str | Path, model: nn.Module) -> Loaded:
    """Reads back what `Pruned.save` wrote; nothing in it is executed.

    Args:
        folder: where it was written.
        model: the original, or one built by the same code; it is left untouched and its weights do not matter.

    Raises:
        ArtifactError: a file is missing or damaged, or the model is not that which was pruned; says how they differ.

    Example:
        >>> import tempfile, torch, laconic
        >>> def build():
        ...     return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = laconic.prune(build(), torch.randn(5, 4), ratio=0.5).save(f"{place}/small")
        ...     laconic.load_pruned(folder, build()).model[0]
        Linear(in_features=4, out_features=4, bias=True)
    """
    folder = Path(folder)
    content = _description(folder)
    for file, digest in content["sha256"].items():
        if sha256(read_bytes(folder / file)) != digest:
            raise ArtifactError(f"{folder / file}: damaged, it is not the file that was written. Copy it again.")
    _expect_same(folder, content, model)
    try:
        loaded, plan = load_state(folder, model)
    except UsageError as error:
        raise ArtifactError(f"{folder}: cannot be rebuilt from this {type(model).__name__}. {error}") from error
    return Loaded(loaded, plan, content["kind"], tuple(content["notes"]))


def _up_to_date(plan: Plan, model: nn.Module) -> Plan:
    """Dense values follow the model, which may have been trained; those that a later edit recodes go."""
    last = {edit.parameter: edit for edit in plan.recodes}
    return Plan.of(
        replace(edit, coding=Dense.of(free_parameter(model, edit.parameter))) if _is_dense(edit) else edit
        for edit in plan
        if not _is_dense(edit) or edit is last[edit.where]
    )


def _is_dense(edit: Edit) -> TypeGuard[Recode]:
    return isinstance(edit, Recode) and isinstance(edit.coding, Dense)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    content = read_json(path)
    if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
        raise ArtifactError(f"{path}: written by another version of Laconic; this one reads format {FORMAT}.")
    wanted = {"format": int, "model": str, "shapes": dict, "kind": str, "notes": list, "sha256": dict}
    whole = isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in wanted.items())
    if not whole or set(content["sha256"]) != set(FILES):
        raise ArtifactError(f"{path}: damaged, it does not describe a pruned model. Copy the folder again.")
    return dict(content)


def _expect_same(folder: Path, content: Mapping[str, Any], model: nn.Module) -> None:
    name = type(model).__name__
    if name != content["model"]:
        raise ArtifactError(f"{folder}: was made from a {content['model']}, got a {name}. Build the original's class.")
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    here = {path: list(tensor.shape) for path, tensor in named.items()}
    for path in (*content["shapes"], *here):
        if here.get(path) != (there := content["shapes"].get(path)):
            raise ArtifactError(
                f"{folder}: was made from a {name} whose {path} has shape {there}, here it has {here.get(path)}. Build "
                "the original with the settings that it had."
            )
