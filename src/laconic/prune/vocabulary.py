"""Rows of the embedding that no data uses are removed, and the outputs of a language model with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from laconic.core.apply import apply
from laconic.core.edit import Cut
from laconic.core.errors import DataError, check_whole, invalid
from laconic.core.metric import IGNORED_LABEL
from laconic.core.plan import Plan
from laconic.core.sound import check_weights
from laconic.core.task import Batch, Task
from laconic.graph import Graph, capture, costs
from laconic.graph.axes import Axes, Axis
from laconic.graph.axes.vocabulary import Vocabulary, vocabulary
from laconic.graph.cutting import shrink
from laconic.graph.example import EXAMPLES, Example, example_inputs
from laconic.graph.lookups import constants_compared
from laconic.graph.oracle import largest_difference, zeroed_outputs
from laconic.prune.cutting import cut_out
from laconic.prune.pruned import Pruned
from laconic.prune.trimmed import IdMap, Trimmed, with_new_ids

PARTS = ("train", "calibrate", "evaluate")
Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def trim_vocabulary(
    model: nn.Module,
    data: Example,
    *,
    ids: Iterable[Tensor] | None = None,
    keep: Sequence[int] = (),
    unknown: int | None = None,
    table: str | None = None,
    outputs: bool | None = None,
    round_to: int = 1,
    graph: Graph | None = None,
) -> Trimmed:
    """Removes the rows of an embedding whose ids do not occur, and proves that nothing changes for those that do.

    An output that the same weight makes (tied), or another weight with an entry for each id, loses the same entries; so
    do all tables that the same ids index. New ids are in the order of the old ones.

    Args:
        model: takes ids; left untouched.
        data: a `Task`, or example inputs (see `prune`).
        ids: tensors of the ids that occur, of any shape. None: all that `data` has; of a task in all its loaders.
        keep: further ids that stay, such as those of special tokens.
        unknown: the id that takes the place of those that go, in data to come; None: these are an error.
        table: name of the embedding's weight; None: of the tables that inputs index, the one with the most rows.
        outputs: whether an output that another weight makes, with an entry for each id, shrinks too. None: if it has
            such entries for every position of the ids, as those of language models do.
        round_to: the number of ids that stay becomes a multiple of it, by more of the first ones.
        graph: of an earlier `capture`.

    Returns:
        The smaller model, which takes new ids; `Trimmed.ids` makes them of old ones, `Trimmed.task` of a whole task.

    Raises:
        UsageError: `keep`, `unknown`, `table` or `round_to` is outside its domain.
        DataError: an id has no row in the table.
        ModelError: no input indexes a table, or its rows are needed for something else; says what for.

    Guarantees:
        For every kept id the model computes what the original does, at the outputs that are kept.
        The padding's row, and ids that the model compares with in its own code, stay.

    Example:
        >>> model = nn.Sequential(nn.Embedding(100, 8), nn.Flatten(), nn.Linear(24, 2))
        >>> trimmed = trim_vocabulary(model, torch.tensor([[5, 7, 9], [7, 5, 7]]))
        >>> trimmed.model[0], trimmed.ids(torch.tensor([[5, 9, 7]]))
        (Embedding(3, 8), tensor([[0, 2, 1]]))
    """
    check_whole("trim_vocabulary.round_to", round_to, 1)
    check_weights(model, "trim_vocabulary.model")
    example = _first(*example_inputs(data))
    graph = graph or capture(model, *example)
    found = vocabulary(graph, table, outputs=outputs)
    _check_named(found.axis.size, keep, unknown)
    stays = torch.zeros(found.axis.size, dtype=torch.bool)
    for seen in ids if ids is not None else _occurring(data, found):
        _mark(stays, seen, found)
    notes = [f"{int(stays.sum()):,} of {len(stays):,} ids occur.", *_mark_needed(stays, found, keep, unknown)]
    _fill_up(stays, round_to)
    id_map = IdMap.of(stays.nonzero().flatten(), len(stays), unknown)
    if bool(stays.all()):
        notes.append("All rows are needed: nothing was cut.")
    renumbered = _renumbered(model, found, id_map)
    if len(renumbered):
        model = apply(model, renumbered)
        found = vocabulary(capture(model, *example), found.lookups[0].table, outputs=outputs)
    return Trimmed(
        pruned=_trimmed(model, graph, found, id_map, _with_kept(id_map, found.sources, *example), renumbered, notes),
        ids=id_map,
        sources=found.sources,
        predicted=found.predicted,
    )


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    batch = Batch(args=args, kwargs=kwargs)
    few = batch.first(EXAMPLES) if batch.inputs and batch.inputs[0].dim() else batch
    return few.args, dict(few.kwargs)


def _check_named(size: int, keep: Sequence[int], unknown: int | None) -> None:
    for name, value in (*(("keep", i) for i in keep), *([] if unknown is None else [("unknown", unknown)])):
        if not 0 <= value < size:
            raise invalid(f"trim_vocabulary.{name}", value, f"an id from 0 to {size - 1}")


def _occurring(data: Example, found: Vocabulary) -> Iterator[Tensor]:
    """Yields the ids in the data; where the model predicts ids, those in the labels as well."""
    if not isinstance(data, Task):
        yield from _ids_of(found.sources, *example_inputs(data))
        return
    loaders = {id(getattr(data, part)): part for part in PARTS if getattr(data, part) is not None}
    for part in loaders.values():
        for batch in data.batches(part):
            yield from _ids_of(found.sources, batch.args, batch.kwargs)
            if found.predicted and batch.labels is not None:
                yield batch.labels[batch.labels != IGNORED_LABEL]


def _ids_of(sources: tuple[int, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    leaves = pytree.tree_leaves((tuple(args), dict(kwargs)))
    for source in sources:
        if source >= len(leaves) or not isinstance(leaves[source], Tensor):
            raise DataError("trim_vocabulary: a batch lacks the input with ids; expected batches that are built alike.")
        yield leaves[source]


def _mark(stays: Tensor, ids: Tensor, found: Vocabulary) -> None:
    ids = torch.as_tensor(ids)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise DataError(f"trim_vocabulary: got ids of {ids.dtype}; expected whole numbers.")
    unique = torch.unique(ids).long().cpu()
    outside = unique[(unique < 0) | (unique >= len(stays))]
    if len(outside):
        raise DataError(
            f"trim_vocabulary: got the id {int(outside[0])}; expected 0 to {len(stays) - 1}, the rows of "
            f"{found.lookups[0].table}. The data was made for another vocabulary."
        )
    stays[unique] = True


def _mark_needed(stays: Tensor, found: Vocabulary, keep: Sequence[int], unknown: int | None) -> Iterator[str]:
    """Marks the ids that stay whether they occur or not, and says which the model itself needs."""
    stays[[*keep, *([] if unknown is None else [unknown])]] = True
    stays[[lookup.padding for lookup in found.lookups if lookup.padding is not None]] = True
    graph = found.axes.graph
    compared = {value for source in found.sources for value in constants_compared(graph, source)}
    if known := [value for value in compared if 0 <= value < len(stays)]:
        more = max(known) + 1 - int(stays[: max(known) + 1].sum())
        stays[: max(known) + 1] = True
        if more:
            yield f"{more:,} more stay: {graph.name} compares ids with {max(known)} itself, so that keeps its number."


def _fill_up(stays: Tensor, round_to: int) -> None:
    wanted = min(len(stays), math.ceil(int(stays.sum()) / round_to) * round_to)
    stays[(~stays).nonzero().flatten()[: wanted - int(stays.sum())]] = True


def _renumbered(model: nn.Module, found: Vocabulary, ids: IdMap) -> Plan:
    """Returns the edit that gives embeddings the new number of their padding."""
    tables = {name for lookup in found.lookups for name in found.axes.graph.aliases.get(lookup.table, ())}
    changed = [
        (path, "padding_idx", int(ids.new[module.padding_idx]))
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        and module.padding_idx is not None
        and f"{path}.weight".removeprefix(".") in tables
        and ids.new[module.padding_idx] != module.padding_idx
    ]
    return Plan.of([Cut(axis="padding", slices=(), attributes=tuple(changed))] if changed else [])


def _with_kept(ids: IdMap, sources: tuple[int, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    """Returns inputs with another id in place of each that goes."""
    leaves, structure = pytree.tree_flatten((args, kwargs))
    known = torch.zeros(len(ids.new), dtype=torch.bool)
    known[ids.kept] = True
    for source in sources:
        held = leaves[source].long().cpu()
        others = ids.kept[held % len(ids.kept)]
        leaves[source] = torch.where(known[held], held, others).to(leaves[source])
    inputs: Inputs = pytree.tree_unflatten(leaves, structure)
    return inputs


def _trimmed(
    model: nn.Module,
    before: Graph,
    found: Vocabulary,
    ids: IdMap,
    inputs: Inputs,
    renumbered: Plan,
    notes: Sequence[str],
) -> Pruned:
    keep = {found.axis: ids.kept} if len(ids.kept) < found.axis.size else {}
    smaller = cut_out(model, found.axes, keep, *inputs, proof=partial(_error, found, ids))
    after = smaller.graph or capture(smaller.model, *with_new_ids(ids, found.sources, *inputs))
    return Pruned(
        model=smaller.model,
        plan=renumbered + smaller.plan,
        kind=smaller.kind,
        why=smaller.why,
        error=smaller.error,
        axes=found.axes,
        keep={axis.name: kept for axis, kept in keep.items()},
        before=costs(before),
        after=costs(after),
        notes=(*notes, *(_renormalised(found) if keep else ()), *smaller.notes),
    )


def _renormalised(found: Vocabulary) -> Iterator[str]:
    if found.axis.statistics:
        yield f"What the model computes over ids is now over the kept ids alone: {', '.join(found.axis.statistics)}."


def _error(
    found: Vocabulary,
    ids: IdMap,
    axes: Axes,
    keep: Mapping[Axis, Tensor],
    cut_model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> float:
    """Returns how far the smaller model on new ids is from the original on old ones, at the outputs that are kept."""
    masks = axes.masks(keep)
    with torch.no_grad():
        whole = zeroed_outputs(axes, keep, args, kwargs)
        new_args, new_kwargs = with_new_ids(ids, found.sources, tuple(args), kwargs)
        got = [t for t in pytree.tree_leaves(cut_model(*new_args, **new_kwargs)) if isinstance(t, Tensor)]
    return largest_difference(got, [shrink(t, dims, masks) for t, dims in zip(whole, found.outputs, strict=True)])
