import dataclasses

import pytest

from laconic.report.layer_sizes import MOST_LAYERS, by_layer

from . import samples


def test_every_layer_has_a_bar_before_and_after_in_the_models_order() -> None:
    report = samples.digits()
    before, after = by_layer(report).figure.data
    assert [round(1e6 * x) for x in before.x] == [layer.bytes_before for layer in report.layers]
    assert [round(1e6 * x) for x in after.x] == [layer.bytes_after for layer in report.layers]
    assert by_layer(report).figure.layout.yaxis.ticktext[0] == "features.0"


def test_of_many_layers_the_largest_are_drawn_and_the_rest_is_summed_up_in_words() -> None:
    report = samples.huge()
    plot = by_layer(report)
    sizes = sorted((layer.bytes_before for layer in report.layers), reverse=True)
    assert sorted((round(1e6 * x) for x in plot.figure.data[0].x), reverse=True) == sizes[:MOST_LAYERS]
    assert sum(sizes[MOST_LAYERS:]) == pytest.approx(59.9e6, rel=1e-3)
    assert "180 smaller layers (59.9 MB before, 10.5 MB after together)" in plot.caption


def test_layers_that_are_alike_in_everything_are_still_counted_one_by_one() -> None:
    layers = 30 * samples.layers()[:1]
    assert "Not shown: the 10 smaller layers" in by_layer(dataclasses.replace(samples.digits(), layers=layers)).caption


def test_long_names_are_cut_where_they_are_alike_and_stay_told_apart() -> None:
    plot = by_layer(samples.huge())
    labels = plot.figure.layout.yaxis.ticktext
    assert len(set(labels)) == len(labels)
    assert "start with model.encoder.layers." in plot.caption
    hovered = [row[0] for row in plot.figure.data[0].customdata]
    assert all(name.startswith("model.encoder.layers.") for name in hovered)


def test_layers_of_the_same_name_keep_their_own_bars() -> None:
    layer = samples.layers()[0]
    plot = by_layer(dataclasses.replace(samples.digits(), layers=(layer, layer)))
    assert list(plot.figure.data[0].y) == [0, 1]


def test_without_layers_the_plot_says_so() -> None:
    plot = by_layer(samples.unmeasured())
    assert plot.figure is None
    assert "not recorded" in plot.caption
