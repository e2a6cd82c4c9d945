"""A decoder of a billion parameters, compressed in less memory than its file takes, killed in between and gone on with.

    python benchmarks/streaming.py [--size 1b|slice|100m|tiny] [--technique nearest|compensated] [--sequences 2]
    python benchmarks/streaming.py --folder DIR  (keeps what it has done, and goes on with it when it is called again)

`slice` is two blocks of the large one with everything around them: its peak of memory is that of all sixteen, and the
time of a block can be read off. The model is a Llama built from a config, with random weights: nothing is said about
accuracy here. Its checkpoint is written block by block in bfloat16. Needs transformers. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn

import laconic
from laconic.calibrate import Encoder
from laconic.core.files import write_json, write_tensors
from laconic.quantize import CompensatedRounding, LeastError, RoundToNearest

SIZES: dict[str, dict[str, int]] = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 32000},
    "slice": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 2, "vocab_size": 32000},
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 8, "vocab_size": 512},
    "100m": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "vocab_size": 16000},
}
TECHNIQUES: dict[str, Encoder] = {
    "nearest": RoundToNearest(bits=4, per=128, range=LeastError(candidates=5, narrowest=0.7)),
    "compensated": CompensatedRounding(bits=4, per=128),
}
TOKENS = 128
SAID = "parts.jsonl"
KILLED_AFTER = 6  # Finished blocks; of fewer, the first.


def built(size: str) -> nn.Module:
    """On the meta device, buffers in memory."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = SIZES[size]["hidden_size"] // 64
    config = LlamaConfig(
        **SIZES[size],
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        use_cache=False,
        dtype=torch.bfloat16,
    )
    with init_empty_weights(include_buffers=False):
        return LlamaForCausalLM(config).eval()


def write_checkpoint(model: nn.Module, folder: Path) -> None:
    """Draws one shard after the other."""
    generator = torch.Generator().manual_seed(0)
    shards: dict[str, dict[str, torch.Size]] = {}
    for name, parameter in model.named_parameters():
        block = name.split(".")[2] if name.startswith("model.layers.") else "outer"
        shards.setdefault(f"model-{block}.safetensors", {})[name] = parameter.shape
    for file, shapes in shards.items():
        tensors = {
            name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) / shape[-1] ** 0.5
            for name, shape in shapes.items()
        }
        write_tensors(folder / file, {name: tensor.bfloat16() for name, tensor in tensors.items()})
    index = {name: file for file, shapes in shards.items() for name in shapes}
    write_json(folder / "model.safetensors.index.json", {"weight_map": index})


def run(size: str, technique: str, sequences: int, folder: Path) -> None:
    """Compresses, or goes on; the child process."""
    torch.set_num_threads(1)
    model = built(size)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, SIZES[size]["vocab_size"], (sequences, TOKENS), generator=generator)
    task = laconic.Task(evaluate=[{"input_ids": row[None]} for row in ids])
    start = time.process_time()

    def say(part: str) -> None:
        nonlocal start
        peak = _status(os.getpid()).get("VmHWM", 0) / 2**30  # `ru_maxrss` would begin with the parent's.
        start, seconds = time.process_time(), time.process_time() - start
        said = {"part": part, "processor_seconds": round(seconds, 1), "peak_gib": round(peak, 2)}
        print(said, flush=True)
        with (folder / SAID).open("a") as file:
            file.write(json.dumps(said) + "\n")

    laconic.stream(model, folder / "original", task, TECHNIQUES[technique], folder / "small", tell=say)


def watched(command: list[str], manifest: Path, stop: int | None) -> dict[str, float]:
    """Runs a child, killed once so many blocks are finished; returns its peak memory and swap in bytes, and seconds."""
    start, busy, peak, swap = time.perf_counter(), _busy(), 0, 0
    child = subprocess.Popen(command)
    while child.poll() is None:
        status = _status(child.pid)
        peak, swap = max(peak, status.get("VmHWM", 0)), max(swap, status.get("VmSwap", 0))
        if stop is not None and manifest.exists() and len(json.loads(manifest.read_text())["parts"]) >= stop:
            child.send_signal(signal.SIGKILL)
            child.wait()
        time.sleep(0.2)
    if child.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the child ended with {child.returncode}")
    seconds = {"processor_seconds": round(_busy() - busy, 1), "seconds": round(time.perf_counter() - start, 1)}
    return {"peak_bytes": peak, "swap_bytes": swap, **seconds}


def _busy() -> float:
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.startswith(("VmHWM:", "VmSwap:")))
    return {name.rstrip(":"): 1024 * int(number) for name, number, *_ in fields}


def measured(size: str, technique: str, sequences: int, folder: Path) -> dict[str, Any]:
    model, manifest = built(size), folder / "small" / "stream.json"
    if not manifest.exists():
        (folder / "original").mkdir(exist_ok=True)
        write_checkpoint(model, folder / "original")
    command = [sys.executable, __file__, "--size", size, "--technique", technique, "--sequences", str(sequences)]
    command += ["--child", str(folder)]
    stop = KILLED_AFTER if SIZES[size]["num_hidden_layers"] > KILLED_AFTER else 1
    killed = watched(command, manifest, stop)
    before = len(laconic.Streamed.open(folder / "small").parts)
    resumed = watched(command, manifest, None)
    found = laconic.Streamed.open(folder / "small")
    block = found.load_block(built(size), f"{found.blocks}.0")
    files = sum(path.stat().st_size for path in (folder / "small").rglob("*") if path.is_file())
    errors = [part.error for part in found.parts if part.error is not None]
    parts = [json.loads(line) for line in (folder / SAID).read_text().splitlines()]
    return {
        "size": size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "technique": repr(TECHNIQUES[technique]),
        "tokens": sequences * TOKENS,
        "checkpoint_bytes": sum(path.stat().st_size for path in (folder / "original").glob("*.safetensors")),
        "compressed_bytes": files,
        "killed": killed | {"parts_finished": before},
        "resumed": resumed,
        "done": found.done,
        "parts": parts,
        "peak_gib": max(*(part["peak_gib"] for part in parts), round(killed["peak_bytes"] / 2**30, 2)),
        "block_errors": [round(errors[0], 5), round(errors[-1], 5)],
        "block_loads": all(bool(p.isfinite().all()) for p in block.parameters()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--technique", choices=TECHNIQUES, default="nearest")
    parser.add_argument("--sequences", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--child", type=Path, default=None)
    given = parser.parse_args()
    if given.child is not None:
        run(given.size, given.technique, given.sequences, given.child)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        print(json.dumps(measured(given.size, given.technique, given.sequences, folder)))


if __name__ == "__main__":
    main()
