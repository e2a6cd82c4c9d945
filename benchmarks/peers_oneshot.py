"""Laconic beside what users would pick, on the same network, images and bits: no training, 1,024 unlabelled images.

CIFAR-10 ResNet-20, top-1 in percent on the 10,000 test images. `w8a8`: weights and activations in 8 bits; `w4`: weights
alone in 4 bits with a scale an output channel, as far as each tool codes them (`coded` is the share of all weights it
did). Every row runs in a process of its own: `seconds` of processor time it took to quantise, `peak_mb` by how much
memory grew meanwhile, at most. Rows that end in ONNX are judged in ONNX Runtime, the others in PyTorch. Rows that begin
with `language` are described in language_peers.py. With `--write` each row goes into results/peers_oneshot.json.

Peers are looked for in the folders inside the one given with `--peers FOLDER`, installed beside the environment's own
torch: `pip install --no-deps --target FOLDER/NAME NAME` and what they name as missing. A row that fails says why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

import laconic
import language_peers
import manner
import networks
from laconic.export.onnxruntime import Session, export

IMAGES, LONGEST = 1024, 900
Answer = Callable[[Tensor], Tensor]


def batches() -> list[Tensor]:
    return [batch.args[0].contiguous() for batch in networks.cifar_task(IMAGES, seed=0).batches("calibrate")]


def in_onnx(path: Path) -> Answer:
    """Returns a model in ONNX Runtime, as a function."""
    session = Session(path)
    return lambda x: torch.from_numpy(session.run([x.contiguous().numpy()]))


def reset_peak() -> int:
    """Forgets how much memory was held at most, and returns what is held now, in kilobytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Returns the most memory held since then, in kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def by_laconic(bits: int, activation_bits: int | None, folder: Path, **settings: Any) -> Answer:
    model, task = networks.cifar_resnet(20), networks.cifar_task(IMAGES, seed=0)
    plan = laconic.quantize(model, task, bits=bits, activation_bits=activation_bits, **settings)
    changed = laconic.apply(model, plan)
    if activation_bits is None:
        return changed
    export(changed, plan, task, next(task.batches("calibrate")), folder / "model.onnx")
    return in_onnx(folder / "model.onnx")


def by_onnxruntime(method: str, folder: Path) -> Answer:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    x = batches()[0]
    model, batch = networks.cifar_resnet(20), {0: torch.export.Dim("batch")}
    torch.onnx.export(model, (x,), folder / "float.onnx", dynamo=True, dynamic_shapes=(batch,), input_names=["x"])
    quant_pre_process(folder / "float.onnx", folder / "ready.onnx")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[Tensor] = iter(batches())

        def get_next(self) -> dict[str, numpy.ndarray] | None:
            found = next(self.rest, None)
            return None if found is None else {"x": found.numpy()}

    quantization.quantize_static(
        folder / "ready.onnx",
        folder / "model.onnx",
        Reader(),
        per_channel=True,
        calibrate_method=getattr(quantization.CalibrationMethod, method),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return in_onnx(folder / "model.onnx")


def by_nncf(_: Path) -> Answer:
    import nncf

    return nncf.quantize(networks.cifar_resnet(20), nncf.Dataset(batches()), subset_size=IMAGES)


def by_nncf_in_four_bits(_: Path) -> Answer:
    import nncf

    settings = {"mode": nncf.CompressWeightsMode.INT4_SYM, "group_size": -1, "ratio": 1.0, "all_layers": True}
    return nncf.compress_weights(networks.cifar_resnet(20), dataset=nncf.Dataset(batches()), **settings)


def by_torchao(_: Path) -> Answer:
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer

    quantizer = x86_inductor_quantizer.X86InductorQuantizer()
    quantizer.set_global(x86_inductor_quantizer.get_default_x86_inductor_quantization_config())
    batch = {0: torch.export.Dim("batch")}
    exported = torch.export.export(networks.cifar_resnet(20), (batches()[0],), dynamic_shapes=(batch,)).module()
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for x in batches():
            prepared(x)
    return move_exported_model_to_eval(convert_pt2e(prepared))


def by_torchao_in_four_bits(_: Path) -> Answer:
    from torchao.quantization import IntxWeightOnlyConfig, quantize_

    model = networks.cifar_resnet(20)
    quantize_(model, IntxWeightOnlyConfig(weight_dtype=torch.int4))
    return model


def by_neural_compressor(_: Path) -> Answer:
    from neural_compressor.torch.export import export as captured
    from neural_compressor.torch.quantization import convert, get_default_static_config, prepare

    exported = captured(networks.cifar_resnet(20), (batches()[0],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    prepared = prepare(exported, get_default_static_config())
    for x in batches():
        prepared(x)
    return convert(prepared)


def by_neural_compressor_in_four_bits(_: Path) -> Answer:
    from neural_compressor.torch.quantization import RTNConfig, convert, prepare

    settings = RTNConfig(bits=4, group_size=-1, use_sym=True)
    return convert(prepare(networks.cifar_resnet(20), settings))


ROWS: dict[str, Callable[[Path], Answer]] = {
    "w8a8/laconic": lambda folder: by_laconic(8, 8, folder),
    "w8a8/laconic_in_order": lambda folder: by_laconic(8, 8, folder, in_order=True),
    "w8a8/onnxruntime_minmax": lambda folder: by_onnxruntime("MinMax", folder),
    "w8a8/onnxruntime_entropy": lambda folder: by_onnxruntime("Entropy", folder),
    "w8a8/nncf": by_nncf,
    "w8a8/torchao": by_torchao,
    "w8a8/neural_compressor": by_neural_compressor,
    "w4/laconic": lambda folder: by_laconic(4, None, folder),
    "w4/laconic_in_order": lambda folder: by_laconic(4, None, folder, in_order=True),
    "w4/nncf": by_nncf_in_four_bits,
    "w4/torchao": by_torchao_in_four_bits,
    "w4/neural_compressor": by_neural_compressor_in_four_bits,
}


def coded(answer: Answer) -> float | None:
    """Returns the share of weights that differ from the original's; None where they cannot be seen by name."""
    if not isinstance(answer, nn.Module):
        return None
    weights = {name: p for name, p in networks.cifar_resnet(20).named_parameters() if p.dim() > 1}
    held = {name: p for name, p in answer.named_parameters() if name in weights and type(p) is nn.Parameter}
    same = sum(p.numel() for name, p in held.items() if torch.equal(p.detach(), weights[name]))
    return round(1 - same / sum(p.numel() for p in weights.values()), 3)


def judged(answer: Answer) -> float:
    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return answer(x)

    return networks.top1(Whole())


def run(row: str) -> None:
    """Runs one row, and prints what it found."""
    torch.set_num_threads(1)
    words = row in language_peers.ROWS
    _ = language_peers.ready() if words else batches()
    before, busy = reset_peak(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        if words:
            tool, bits = language_peers.ROWS[row]
            model = tool(bits)
            print(json.dumps({**spent(before, busy), **language_peers.judged(model)}))
            return
        answer = ROWS[row](Path(folder))
        found: dict[str, Any] = spent(before, busy)
        found |= {"coded": coded(answer)} if row.startswith("w4") else {}
        print(json.dumps({"top1": judged(answer), **found}))


def spent(before: int, busy: float) -> dict[str, float]:
    """Returns the processor time since `busy`, and how much memory was held at most above `before` kilobytes."""
    return {"seconds": round(time.process_time() - busy, 1), "peak_mb": round((peak() - before) / 1024)}


def apart(row: str, peers: Path | None) -> dict[str, Any]:
    """Returns what a process of its own found, or why it failed."""
    folders = [str(folder) for folder in sorted(peers.iterdir()) if folder.is_dir()] if peers else []
    path = os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])
    tools = os.pathsep.join([*(f"{folder}/bin" for folder in folders), os.environ["PATH"]])
    called = [sys.executable, __file__, "--apart", row]
    try:
        done = subprocess.run(
            called,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            env={**os.environ, "PYTHONPATH": path, "PATH": tools},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {LONGEST} seconds"}
    if done.returncode:
        said = [text for text in done.stderr.strip().splitlines() if text.strip()] or ["nothing said"]
        return {"failed": said[-1].strip()[:300]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Runs the rows."""
    if sys.argv[1:2] == ["--apart"]:
        run(sys.argv[2])
        return
    peers = None
    if "--peers" in sys.argv:
        place = sys.argv.index("--peers")
        peers = Path(sys.argv[place + 1])
        del sys.argv[place : place + 2]
    given = manner.options(__doc__ or "", [*ROWS, *language_peers.ROWS], seeds=1, writes=True)
    rows: dict[str, Any] = {}
    for row in given.rows:
        rows[row] = found = apart(row, peers)
        manner.line(row, *found.values(), widths=[40, *[12] * len(found)])
        if given.write:
            manner.keep(row, found, summary)
    manner.finish(summary(rows))


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns the last line."""
    found: dict[str, Any] = {"float": networks.TOP1["resnet20"]}
    for row, one in rows.items():
        bits, name = row.split("/")
        found.setdefault(bits, {})[name] = one
    return found


if __name__ == "__main__":
    main()
