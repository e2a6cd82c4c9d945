"""The commands, each a thin layer over the Python function of the same name."""

from __future__ import annotations

from laconic.cli.compressing import advise, compress, demo
from laconic.cli.distilling import distill
from laconic.cli.pruning import prune
from laconic.cli.reading import bench, inspect, report, verify
from laconic.cli.streaming import stream
from laconic.cli.weights import factorize, price, quantize, sparsify

ALL = (
    demo,
    advise,
    compress,
    prune,
    quantize,
    sparsify,
    factorize,
    price,
    stream,
    distill,
    bench,
    report,
    inspect,
    verify,
)
