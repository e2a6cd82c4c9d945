"""Vectors of weights as combinations of few learnt atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.calibrate.view import View
from laconic.core.bits import packed_size
from laconic.core.codings import Dictionary
from laconic.core.codings.dictionary import stored
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.pursuit import pursue
from laconic.core.sound import check_codable
from laconic.share.atoms import learnt_atoms
from laconic.solve import InputMetric, compensate_vectors, in_vectors, refine_vectors

HARMLESS = (1e-3, 1e3)  # Of the largest weight: amounts in half precision neither vanish nor overflow.


@final
@dataclass(frozen=True, kw_only=True)
class SparseDictionary:
    """Each vector of weights as a combination of a few atoms that the whole layer shares.

    Atoms are learnt by choosing amounts (orthogonal matching pursuit) and refitting atoms in turn, in the metric of the
    inputs. Then the vectors of one place of all outputs take their atoms after those of another, and the error of each
    is passed on to those still to come: least squares of the layer's output, `tr(dW A dW^T)`.

    Args:
        atoms: 2 to 256.
        nonzeros: atoms of a vector.
        length: consecutive inputs that are a vector; None: a kernel of a convolution (at least two elements), else the
            whole row of an output. An embedding's vectors are parts of the rows that are looked up.
        rounds: of refitting atoms.
        damping: added to the diagonal of `A`, as a share of its mean.
        seed: of which vectors are the first atoms.

    Guarantees:
        With the whole `A` the layer's output changes no more on the calibration data than without evidence.

    Reference:
        Pati, Rezaiifar and Krishnaprasad 1993 (matching pursuit); Engan, Aase and Husoy 1999 (atoms); van Baalen et al.
        2024, arXiv:2402.15319 (vectors one after the other).

    Example:
        >>> layer = Layer(parameter="conv.weight", kind="conv", shape=(32, 16, 3, 3))
        >>> coding = SparseDictionary(atoms=32, nonzeros=2).encode(torch.randn(32, 16, 3, 3), layer)
        >>> str(coding), coding.size_bytes
        ('2 of 32 atoms for every 9 weights', 3264)
    """

    atoms: int = 64
    nonzeros: int = 2
    length: int | None = None
    rounds: int = 10
    damping: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        where = "share.SparseDictionary"
        check_whole(f"{where}.atoms", self.atoms, 2, 256)
        check_whole(f"{where}.nonzeros", self.nonzeros, 1, self.atoms)
        check_whole(f"{where}.rounds", self.rounds, 0)
        if self.length is not None:
            check_whole(f"{where}.length", self.length, 1)
        if not self.damping > 0:
            raise invalid(f"{where}.damping", self.damping, "a positive number")

    def size_bytes(self, layer: Layer) -> int:
        """Returns the bytes that a layer would take, with atoms and amounts in half precision."""
        (groups, rows, columns), length = View.of(layer, whole_kernels=True).layout.matrix, self._length(layer)
        amounts = groups * rows * math.ceil(columns / length) * self.nonzeros
        return 2 * self.atoms * length + 2 * amounts + packed_size(amounts, (self.atoms - 1).bit_length())

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Dictionary:
        """Returns the weight as combinations of atoms.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None, or the diagonal of `A` alone (more than 12,288 inputs): all
                weights count alike. The rows of an embedding count as often as they were looked up.

        Raises:
            ModelError: the weight holds NaN or infinity.
            UsageError: atoms, amounts and codes would take more bytes than the weight.
        """
        self._check(weight, layer)
        evidence = reached(evidence)
        weight, view = weight.detach().cpu().float(), View.of(layer, whole_kernels=True)
        if layer.kind == "embedding" and evidence is not None:
            return self._plain(weight, view, evidence.A[0] / evidence.A.mean() + 0.01)
        plain = self._plain(weight, view, torch.ones(view.layout.matrix[1]))
        if evidence is None or evidence.input_sum.dim() == 2:
            return plain
        moment = view.moment(evidence.A)
        found = self._compensated(weight, view, moment, plain.amounts.dtype)
        return min((plain, found), key=lambda coding: _error(coding, weight, moment))

    def _check(self, weight: Tensor, layer: Layer) -> None:
        check_codable(weight, layer.parameter)
        size, whole = self.size_bytes(layer), 4 * math.prod(layer.shape)
        if size >= whole > 0:
            raise invalid(
                f"share.SparseDictionary({layer.parameter}).atoms",
                self.atoms,
                f"a dictionary smaller than the layer: {size:,} bytes for {whole:,}",
                "Use fewer or shorter atoms for this layer, or another technique.",
            )

    def _length(self, layer: Layer) -> int:
        """Inputs of a vector of a layer."""
        columns = max(View.of(layer, whole_kernels=True).layout.matrix[2], 1)
        kernel = math.prod(layer.shape[2:]) if layer.kind in ("conv", "conv_transpose") else 1
        whole = kernel if kernel > 1 else columns
        return min(columns, self.length or whole)

    def _plain(self, weight: Tensor, view: View, mass: Tensor) -> Dictionary:
        """Returns each vector as the combination nearest to it; vectors of a row count alike.

        Args:
            weight: float32.
            view: of the layer.
            mass: how much each row counts, `[rows]`.
        """
        length = self._length(view.layer)
        vectors = _cut(view.layout.view(weight), length)
        spread = mass.repeat_interleave(vectors.shape[2]).repeat(len(vectors))
        atoms = self._atoms(vectors.flatten(0, 2), spread, torch.eye(length), weight)
        codes, amounts = pursue(vectors.flatten(0, 2), atoms, self.nonzeros)
        return Dictionary.of(layout=view.layout, atoms=atoms, amounts=stored(amounts, atoms.dtype), codes=codes)

    def _atoms(self, vectors: Tensor, mass: Tensor, moment: Tensor, weight: Tensor) -> Tensor:
        """Learns atoms, as they are stored: float16 where neither they nor amounts suffer from it."""
        size = float(weight.abs().max()) if weight.numel() else 1.0
        learnt = learnt_atoms(
            vectors / max(size, torch.finfo(torch.float32).tiny),
            mass,
            moment,
            atoms=self.atoms,
            nonzeros=self.nonzeros,
            rounds=self.rounds,
            seed=self.seed,
        )
        harmless = size == 0 or HARMLESS[0] <= size <= HARMLESS[1]
        return learnt.to(torch.float16 if harmless else torch.float32)

    def _compensated(self, weight: Tensor, view: View, moment: Tensor, dtype: torch.dtype) -> Dictionary:
        """Returns the combinations for a second moment, errors passed on, and then each once more."""
        length, matrix = self._length(view.layer), view.layout.view(weight)
        missing = -matrix.shape[2] % length
        padded = functional.pad(moment, (0, missing, 0, missing))
        metric = InputMetric.of(padded, damping=self.damping, order=in_vectors(padded, length))
        vectors, (local, mass) = _cut(matrix, length), _local(metric, length)
        spread = mass[:, None].expand(vectors.shape[:3]).flatten()
        atoms = self._atoms(vectors.flatten(0, 2), spread, local, weight)
        codes = torch.zeros(*vectors.shape[:3], self.nonzeros, dtype=torch.int64)
        amounts = torch.zeros(codes.shape, dtype=dtype)
        groups = torch.arange(len(vectors))

        def choose(wanted: Tensor, place: int, pull: Tensor) -> Tensor:
            chosen = [pursue(x.mT @ p, atoms.float() @ p, self.nonzeros) for x, p in zip(wanted, pull, strict=True)]
            at = metric.order[:, place] // length
            codes[groups, :, at] = torch.stack([c for c, _ in chosen])
            amounts[groups, :, at] = stored(torch.stack([a for _, a in chosen]), dtype)
            taken = atoms.float()[codes[groups, :, at]] * amounts[groups, :, at].float()[..., None]
            return taken.sum(2).mT

        target = metric.arrange(functional.pad(matrix, (0, missing)))
        first = compensate_vectors(target, metric, choose, width=length)
        refine_vectors(target, first, metric, choose, width=length)
        return Dictionary.of(layout=view.layout, atoms=atoms, amounts=amounts.flatten(0, 2), codes=codes.flatten(0, 2))

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))


def _cut(matrix: Tensor, length: int) -> Tensor:
    """Returns `[groups, rows, columns]` as `[groups, rows, vectors, length]`, padded with zeros."""
    padded = functional.pad(matrix, (0, -matrix.shape[2] % length))
    return padded.reshape(*matrix.shape[:2], -1, length)


def _local(metric: InputMetric, length: int) -> tuple[Tensor, Tensor]:
    """Returns the mean metric inside a vector, `[length, length]`, and each vector's share, `[groups, vectors]`."""
    place = metric.order[:, ::length] // length
    groups, inputs, _ = metric.moment.shape
    cut = metric.moment.reshape(groups, inputs // length, length, inputs // length, length)
    blocks = cut.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
    energy = blocks.diagonal(dim1=2, dim2=3).mean(2)
    share = torch.zeros_like(energy).scatter_(1, place, energy / energy.mean())
    return blocks.mean((0, 1)), share


def _error(coding: Dictionary, weight: Tensor, moment: Tensor) -> float:
    """`tr(dW A dW^T)`."""
    size = weight.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    change = coding.layout.view((coding.decode() - weight) / size).double()
    return float(((change @ moment) * change).sum())
