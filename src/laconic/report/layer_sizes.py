"""The plot of bytes by layer, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import plotly.graph_objects as go

from laconic.report import wording
from laconic.report.plots import ORIGINAL, RESULT, Plot, axis, layout, literal
from laconic.report.record import LayerRow, Report

MOST_LAYERS = 20
LABEL_LENGTH = 22
ROW_PX = 40
TITLE = "Size by layer, before and after"


def by_layer(report: Report) -> Plot:
    """Returns horizontal bars for each layer in the model's order; of many layers, for the largest."""
    layers = report.layers
    if not layers:
        caption = "Nothing to draw: the layers were not recorded."
        return Plot(name="size-by-layer", title=TITLE, caption=caption, alt=caption, figure=None)
    shown, others = _split(layers)
    return Plot(
        name="size-by-layer",
        title=TITLE,
        caption=_caption(shown, others),
        alt=f"{TITLE}: {len(layers)} layers, {_totals(layers)}. The table below has every layer.",
        figure=_figure(shown),
        legend=(("before", ORIGINAL), ("after", RESULT)),
        height_px=70 + ROW_PX * len(shown),
    )


def _split(layers: Sequence[LayerRow]) -> tuple[list[LayerRow], list[LayerRow]]:
    """The largest layers and the others, each in the model's order."""
    ranked = sorted(range(len(layers)), key=lambda place: -layers[place].bytes_before)
    largest, others = sorted(ranked[:MOST_LAYERS]), sorted(ranked[MOST_LAYERS:])
    return [layers[place] for place in largest], [layers[place] for place in others]


def _totals(layers: Sequence[LayerRow]) -> str:
    before, after = sum(layer.bytes_before for layer in layers), sum(layer.bytes_after for layer in layers)
    return f"{wording.byte_size(before)} before, {wording.byte_size(after)} after"


def _caption(shown: Sequence[LayerRow], others: Sequence[LayerRow]) -> str:
    parts = ["Bytes of each layer's weights in the file, in the model's order."]
    if others:
        # Not a bar: hundreds of small layers in one would dwarf the largest ones.
        parts.append(f"Not shown: the {len(others)} smaller layers ({_totals(others)} together).")
    prefix = _shared_prefix([layer.name for layer in shown])
    if prefix:
        parts.append(f"All of these names start with {prefix}")
    return " ".join(parts)


def _shared_prefix(names: Sequence[str]) -> str:
    """The path that all names begin with, up to a dot: what would fill the labels without telling them apart."""
    folders = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, folders)]
    return "".join(f"{step}." for step in shared) if len(names) > 1 else ""


def _figure(layers: Sequence[LayerRow]) -> go.Figure:
    largest = max(max(layer.bytes_before, layer.bytes_after) for layer in layers)
    factor, unit = wording.byte_unit(largest)
    prefix = _shared_prefix([layer.name for layer in layers])
    names = [literal(wording.shortened(layer.name.removeprefix(prefix), LABEL_LENGTH)) for layer in layers]
    figure = go.Figure(
        [
            _trace("before", ORIGINAL, [(layer.name, layer.bytes_before) for layer in layers], factor),
            _trace("after", RESULT, [(layer.name, layer.bytes_after) for layer in layers], factor),
        ]
    )
    figure.update_layout(
        layout(
            barmode="group",
            bargap=0.3,
            bargroupgap=0.08,
            xaxis=axis(unit, range=[0, 1.35 * largest / factor or 1], nticks=6),
            yaxis=axis(
                None,
                tickvals=list(range(len(layers))),
                ticktext=names,
                range=[len(layers) - 0.5, -0.5],
                showgrid=False,
            ),
        )
    )
    return figure


def _trace(title: str, colour: str, amounts: Sequence[tuple[str, int]], factor: float) -> go.Bar:
    return go.Bar(
        name=title,
        orientation="h",
        y=list(range(len(amounts))),
        x=[amount / factor for _, amount in amounts],
        text=[wording.byte_size(amount) for _, amount in amounts],
        textposition="outside",
        textangle=0,
        cliponaxis=False,
        marker={"color": colour},
        customdata=[[literal(name), f"{amount:,}"] for name, amount in amounts],
        hovertemplate=f"<b>%{{customdata[0]}}</b><br>{title}: %{{customdata[1]}} B<extra></extra>",
    )
