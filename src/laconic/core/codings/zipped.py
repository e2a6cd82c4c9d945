"""Any coding with its bytes entropy coded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
import zstandard
from torch import Tensor

from laconic.core import codings
from laconic.core.bits import pack, unpack
from laconic.core.coding import Coding
from laconic.core.errors import invalid
from laconic.core.stored import of_kind

LEVEL = 19  # Slow to write, as fast as any to read.
TYPES = {str(t).removeprefix("torch."): t for t in (torch.uint8, torch.int8, torch.int32, torch.float16, torch.float32)}


@final
@dataclass(frozen=True, eq=False)
class Zipped(Coding):
    """Another coding, each of its tensors compressed by Zstandard (RFC 8878) where that makes it smaller.

    Codes that are used often take fewer bits. Codes of fewer than 8 bits are given to the coder one to a byte or
    packed, whichever ends up smaller.

    Args:
        inner: stored in fewer bytes, otherwise as it was.
        stored: its tensors as they are stored, by name, each with what is needed to restore it; None: it is as it was.
            Kept, since another version of the compressor may give other bytes.

    Guarantees:
        It decodes to what the inner coding does, bit for bit, on any machine.
        Its `size_bytes` is at most the inner coding's.

    Example:
        >>> from laconic.core.codings import Dense
        >>> coding = Zipped.of(Dense.of(torch.zeros(100, 100)))
        >>> coding.inner.size_bytes, coding.size_bytes < 50
        (40000, True)
    """

    kind: ClassVar[str] = "zipped"
    inner: Coding
    stored: Mapping[str, tuple[dict[str, Any] | None, Tensor]]

    @classmethod
    def of(cls, inner: Coding) -> Self:
        """Compresses what a coding stores."""
        codes, bits = ("", 8) if inner.coded is None else inner.coded[:2]
        tensors = inner.tensors().items()
        return cls(inner, {name: _smallest(tensor, bits if name == codes else 8) for name, tensor in tensors})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded tensor."""
        return self.inner.shape

    def decode(self) -> Tensor:
        """Returns what the inner coding stands for."""
        return self.inner.decode()

    def encode(self, weight: Tensor) -> Self:
        """Codes another weight by the inner coding."""
        return self.of(self.inner.encode(weight))

    def encode_within(self, weight: Tensor, mask: Tensor) -> Self:
        """Codes another weight by the inner coding."""
        return self.of(self.inner.encode_within(weight, mask))

    def project(self, weight: Tensor) -> Tensor:
        """Returns the inner coding's projection."""
        return self.inner.project(weight)

    def config(self) -> dict[str, Any]:
        """Returns the inner coding's kind and format, and how each tensor is stored."""
        forms = {name: form for name, (form, _) in self.stored.items() if form is not None}
        return {"coding": self.inner.kind, "format": self.inner.config(), "zipped": forms}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the inner coding's tensors, compressed ones as bytes."""
        return {name: tensor for name, (_, tensor) in self.stored.items()}

    @classmethod
    def from_parts(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Undoes `config` and `tensors`.

        Raises:
            UsageError: bytes are damaged, or more than their description says.
        """
        forms = config["zipped"]
        parts = {name: _restored(t, forms[name]) if name in forms else t for name, t in tensors.items()}
        inner = of_kind(codings.ALL, config["coding"], "Zipped.coding").from_parts(config["format"], parts)
        return cls(inner, {name: (forms.get(name), t) for name, t in tensors.items()})

    def __str__(self) -> str:
        return f"{self.inner}, entropy coded"


def _smallest(tensor: Tensor, bits: int) -> tuple[dict[str, Any] | None, Tensor]:
    """Returns how a tensor is stored, None: as it is, and what is stored."""
    form = {"type": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
    tried: list[tuple[dict[str, Any] | None, Tensor]] = [(None, tensor)]
    if tensor.numel() and form["type"] in TYPES:
        tried.append((form, _zipped(tensor.contiguous().flatten().view(torch.uint8))))
        if bits < 8:
            count = 8 * tensor.numel() // bits  # the last of them may be filling
            tried.append((form | {"bits": bits}, _zipped(unpack(tensor, bits, count))))
    return min(tried, key=lambda pair: pair[1].numel() * pair[1].element_size())


def _zipped(octets: Tensor) -> Tensor:
    content = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(octets.numpy().tobytes())
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _restored(content: Tensor, form: Mapping[str, Any]) -> Tensor:
    dtype, shape = TYPES[form["type"]], form["shape"]
    size = math.prod(shape) * dtype.itemsize
    count = 8 * size // form["bits"] if "bits" in form else size
    packed = content.numpy().tobytes()
    try:
        # The frame says how long its content is: no more memory is taken than the description asks for.
        if (found := zstandard.frame_content_size(packed)) != count:
            raise invalid("Zipped", f"a frame of {found} bytes", f"{count} bytes")
        octets = zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        raise invalid("Zipped", f"damaged bytes ({error})", "a Zstandard frame") from error
    flat = torch.frombuffer(bytearray(octets), dtype=torch.uint8)
    return (pack(flat, form["bits"]) if "bits" in form else flat).view(dtype).reshape(shape)
