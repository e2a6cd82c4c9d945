"""Models of which only the structure is wanted, and text for them."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from laconic.cli.load import called, one_line
from laconic.core.errors import ArtifactError, DataError, ModelError, UsageError
from laconic.core.task import Batch, Task
from laconic.streaming import structure

CONFIG = "config.json"


def load_structure(spec: str | None, checkpoint: Path) -> nn.Module:
    """Builds a model without its weights.

    Args:
        spec: `module:function`; None: the checkpoint's own description, read by transformers, offline.
        checkpoint: folder of the weights.

    Raises:
        ArtifactError: the folder is missing, or describes nothing.
        UsageError: the function fails or returns no module, or transformers is not installed.
        ModelError: transformers does not know the model.
    """
    if not checkpoint.is_dir():
        raise ArtifactError(f"{checkpoint}: is no folder; expected one with the checkpoint's safetensors files.")
    built = structure(partial(called, spec, "stream.model") if spec is not None else partial(_described, checkpoint))
    if not isinstance(built, nn.Module):
        raise UsageError(f"stream.model: {spec} returned {type(built).__name__}; expected a torch.nn.Module.")
    return built.eval()


def load_tokens(path: Path, checkpoint: Path, length: int) -> Task:
    """Cuts token ids, or a text by the checkpoint's own tokenizer, into samples; a rest that is shorter is left out.

    Raises:
        DataError: the file is missing, holds something else, or is too short for one sample.
        UsageError: transformers is not installed.
    """
    ids = _ids(path) if path.suffix == ".npy" else _tokenized(path, checkpoint)
    rows, length = (ids[None], length) if ids.dim() == 1 else (ids, min(length, ids.shape[1]))
    samples = [piece for row in rows for piece in torch.split(row, length) if len(piece) == length]
    if not samples:
        raise DataError(f"{path}: holds {len(ids)} tokens; expected at least {length}, one sample. See --length.")
    return Task(evaluate=[Batch(args=(row[None],)) for row in samples])


def _ids(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as a plain .npy array ({one_line(error)}).") from error
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not array.size:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {list(array.shape)}; expected token ids, whole numbers, in one row "
            "or in rows."
        )
    return torch.from_numpy(array.astype(np.int64))


def _tokenized(path: Path, checkpoint: Path) -> Tensor:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as text in UTF-8 ({one_line(error)}).") from error
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(
            checkpoint, local_files_only=True, trust_remote_code=False
        )
        return torch.tensor(tokenizer(text)["input_ids"])
    except UsageError:
        raise
    except Exception as error:
        raise DataError(
            f"{checkpoint}: has no tokenizer that can be read ({one_line(error)}). Pass token ids: --data ids.npy."
        ) from error


def _described(checkpoint: Path) -> nn.Module:
    """Builds what a folder's config.json describes; nothing is fetched, and no code in the folder is executed."""
    try:
        names = json.loads((checkpoint / CONFIG).read_text())["architectures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{checkpoint / CONFIG}: names no architecture ({one_line(error)}). Say what builds the network: "
            "--model module:function."
        ) from error
    library = _transformers()
    kind = getattr(library, str(names[0]), None) if names else None
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ModelError(
            f"{checkpoint / CONFIG}: transformers {library.__version__} has no {names and names[0]!r}. Say what builds "
            "the network: --model module:function."
        )
    try:
        config = library.AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
        config.use_cache = False
        built: nn.Module = kind(config)
    except Exception as error:
        raise ModelError(f"{checkpoint / CONFIG}: cannot be built by transformers ({one_line(error)}).") from error
    return built


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError(
            "stream: transformers is not installed, and reads config.json and tokenizers. Install it, or say what "
            "builds the network (--model module:function) and pass token ids (--data ids.npy)."
        ) from error
