"""The size of a file before it is written, to the byte."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Computed and not asked of the library: that would build the whole file in memory (400 MB: 4 s and twice the bytes),
# while a price list asks for hundreds of sizes. The test compares with the library's files.
# As safetensors calls and sorts them: of several types the last comes first in a file, of several names the first.
TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
}
LENGTH_FIELD, ALIGNMENT = 8, 8


def tensors_size(tensors: Mapping[str, Tensor]) -> int:
    """Returns the bytes of the safetensors file that `write_tensors` would write: header, padding and values.

    Args:
        tensors: by name, of the types in `TYPES`.

    Example:
        >>> tensors_size({"a": torch.zeros(3)}) - 12  # the length of the header, and the header
        64
    """
    order = list(TYPES)
    names = sorted(tensors, key=lambda name: (-order.index(tensors[name].dtype), name.encode()))
    header: dict[str, object] = {}
    end = 0
    for name in names:
        start, end = end, end + _bytes(tensors[name])
        shape = list(tensors[name].shape)
        header[name] = {"dtype": TYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return LENGTH_FIELD + math.ceil(length / ALIGNMENT) * ALIGNMENT + end


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
