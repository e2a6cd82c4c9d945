"""`laconic stream`: a checkpoint that need not fit into memory, coded block by block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from laconic.cli.listen import Terminal
from laconic.cli.load import load_task
from laconic.cli.options import Json, print_json
from laconic.cli.structures import load_structure, load_tokens
from laconic.core.errors import invalid
from laconic.core.formats import KNOWN

if TYPE_CHECKING:
    from laconic.calibrate import Encoder
    from laconic.streaming import Streamed

FORMATS = {known.name: known for known in KNOWN}
TECHNIQUES = ("nearest", "compensated", "codebook", "vectors", "sparse")


def stream(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of safetensors files, one or many.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="module:function that builds the network; it need not fit into memory. "
            "Without one the folder's config.json says which, for the library transformers."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="What weights are fitted to: token ids (.npy), text (.txt, for the tokenizer in the folder), or "
            "module:function that returns a laconic.Task. None: each weight by itself; nothing is run."
        ),
    ] = None,
    technique: Annotated[
        str, typer.Option(help=f"{', '.join(TECHNIQUES)}, or a format of numbers such as nf4 (docs/quantization.md).")
    ] = "compensated",
    bits: Annotated[int | None, typer.Option(help="Of each weight; none: 4, and float16 of sparse ones.")] = None,
    per: Annotated[str, typer.Option(help="What shares a scale: tensor, channel, or a number of weights.")] = "channel",
    sparsity: Annotated[float | None, typer.Option(help="Share of zeros, for sparse ones.")] = None,
    around_bits: Annotated[
        int | None, typer.Option(help="Of embeddings, head and all else outside the blocks; none: as inside.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Pattern of weights to leave alone; may be repeated.")] = None,
    blocks: Annotated[str | None, typer.Option(help="Path of the list of blocks; none: the longest one.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="At most so many are read.")] = 128,
    length: Annotated[int, typer.Option(min=1, help="Tokens of a sample that is cut from text or a row of ids.")] = 512,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Fit each layer to what the ones before it leave: nearer at few bits.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder to write; the same command goes on with it.")] = Path(
        "laconic-streamed"
    ),
    as_json: Json = False,
) -> None:
    """Compress a model larger than memory, block by block, from shards to packed shards; called again, it goes on.

    Example: `laconic stream llama/ --data text.txt --bits 4 --per 128 --around-bits 8 --out small/`
    """
    from laconic.streaming import stream as run
    from laconic.streaming.parts import path_of_blocks

    chosen = _technique(technique, bits, per, sparsity)
    network = load_structure(model, checkpoint)
    path = path_of_blocks(network, blocks)
    named: dict[str, Encoder | None] = dict.fromkeys(keep or ())
    named |= _inside_and_around(chosen, f"{path}.*", around_bits)
    task = None
    if data is not None:
        tokens = Path(data).suffix in (".npy", ".txt")
        task = load_tokens(Path(data), checkpoint, length) if tokens else load_task(data, metric=None, batch_size=1)
    terminal, finished = Terminal(), 0

    def tell(part: str) -> None:
        nonlocal finished
        finished += 1
        terminal.say(f"{part or 'around the blocks'}: done")

    terminal.begin("stream")
    try:
        found = run(network, checkpoint, task, named, out, blocks=path, samples=samples, in_order=in_order, tell=tell)
    finally:
        terminal.end()
    _show(found, len(found.parts) - finished, as_json)


def _technique(name: str, bits: int | None, per: str, sparsity: float | None) -> Encoder:
    from laconic.prune.weights import CompensatedSparsity, MaskThen
    from laconic.quantize import CompensatedRounding, RoundToNearest, RoundToValues, ScalarCodebook, VectorCodebook

    shared = int(per) if per.isdecimal() else per
    if sparsity is not None and name != "sparse":
        raise invalid("stream.sparsity", sparsity, "none, but for --technique sparse")
    if name in FORMATS:
        if bits not in (None, FORMATS[name].bits):
            raise invalid("stream.bits", bits, f"{FORMATS[name].bits}, what {name} has, or none")
        return RoundToValues(format=FORMATS[name], per=shared)  # type: ignore[arg-type]  # Refused there.
    if name not in TECHNIQUES:
        raise invalid("stream.technique", name, f"one of {', '.join((*TECHNIQUES, *FORMATS))}")
    if name == "sparse":
        if sparsity is None:
            raise invalid("stream.sparsity", None, "a share of zeros in [0, 1)", "For half of all write 0.5.")
        if bits is None:
            return CompensatedSparsity(sparsity=sparsity, half=True)
        rounding = CompensatedRounding(bits=bits, per=shared, keep_zeros=True)  # type: ignore[arg-type]
        return MaskThen(mask=CompensatedSparsity(sparsity=sparsity), then=rounding)
    wanted = 4 if bits is None else bits
    if name == "codebook":
        return ScalarCodebook(bits=wanted)
    if name == "vectors":
        return VectorCodebook(bits=8 if bits is None else bits)
    kind = RoundToNearest if name == "nearest" else CompensatedRounding
    return kind(bits=wanted, per=shared)  # type: ignore[arg-type]  # A wrong word is refused there.


def _inside_and_around(chosen: Encoder, inside: str, around_bits: int | None) -> Mapping[str, Encoder]:
    from laconic.quantize import RoundToNearest

    if around_bits is None:
        return {"*": chosen}
    return {inside: chosen, "*": RoundToNearest(bits=around_bits)}


def _show(found: Streamed, before: int, as_json: bool) -> None:
    """Says what was written, and how far each block's answers moved."""
    parts = [{"path": p.path, "bytes": [p.original_bytes, p.size_bytes], "error": p.error} for p in found.parts]
    if as_json:
        total = [found.original_bytes, found.size_bytes]
        print_json({"parts": parts, "bytes": total, "finished_before": before, "out": str(found.folder)})
        return
    console = Console(highlight=False, markup=False)  # Names from a model are shown, not obeyed.
    if before:
        console.print(f"{before} of {len(parts)} parts were finished before")
    for part in found.parts:
        error = "" if part.error is None else f", answers off by {part.error:.2%} of their energy"
        console.print(
            f"{part.path or 'around the blocks'}: {part.original_bytes:,} -> {part.size_bytes:,} bytes{error}",
            soft_wrap=True,
        )
    share = found.size_bytes / found.original_bytes if found.original_bytes else 1.0
    console.print(
        f"{found.original_bytes:,} bytes of tensors -> {found.size_bytes:,} bytes in {found.folder} ({share:.1%})",
        soft_wrap=True,
    )
