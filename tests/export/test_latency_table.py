import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from laconic.core.errors import ArtifactError
from laconic.core.target import Target
from laconic.export.onnxruntime.latency_table import Entry, LatencyTable, Machine, corners_of
from laconic.export.onnxruntime.layer import FLOAT, Form, LayerShape
from laconic.export.onnxruntime.layer_times import Times

MACHINE = Machine(runtime="onnxruntime", version="1", cpu="a", threads=1)
WHOLE = LayerShape(kind="linear", inputs=64, outputs=32, sizes=(1,))
INTEGER = Form(weight="grid", bits=8, input_rounded=True, output_rounded=True)


def linear_time(graphs: Mapping[Entry, bytes], threads: int, yardstick_us: float) -> dict[Entry, Times]:
    """A machine on which a layer takes a microsecond a channel."""
    found = {}
    for shape, form in graphs:
        us = float(shape.inputs + 10 * shape.outputs) * (0.5 if form.weight == "grid" else 1.0)
        found[shape, form] = Times(
            inside_us=us, low_us=us, high_us=us, before_us=1.0, after_us=2.0, moving_us=0.5, operators=1
        )
    return found


def table(path: Path | None = None) -> LatencyTable:
    return LatencyTable(machine=MACHINE, yardstick_us=100.0, operator_us=0.1, path=path, timer=linear_time)


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    first = table(tmp_path / "t.json")
    asked = []

    def counting(graphs: Mapping[Entry, bytes], threads: int, yardstick_us: float) -> dict[Entry, Times]:
        asked.extend(graphs)
        return linear_time(graphs, threads, yardstick_us)

    again = LatencyTable(machine=MACHINE, yardstick_us=100.0, operator_us=0.1, path=first.path, timer=counting)
    again.times(WHOLE)
    again.times(WHOLE)
    read = LatencyTable.load(tmp_path / "t.json")
    assert asked == [(WHOLE, FLOAT)]
    assert read.entries == again.entries and read.machine == MACHINE and read.yardstick_us == 100.0


def test_widths_in_between_are_interpolated_exactly_where_time_is_linear() -> None:
    found = table()
    narrow = replace(WHOLE, inputs=45, outputs=23)
    assert found.between(narrow, FLOAT, WHOLE).inside_us == pytest.approx(45 + 230)
    assert (narrow, FLOAT) not in found.entries


def test_a_width_is_only_compared_with_such_as_are_divisible_by_the_same() -> None:
    corners = corners_of(replace(WHOLE, inputs=27), WHOLE)
    assert sum(share for _, share in corners) == pytest.approx(1)
    assert all(shape.inputs % 2 == 1 for shape, _ in corners)
    assert all(shape.inputs % 4 == 0 and shape.inputs % 8 for shape, _ in corners_of(replace(WHOLE, inputs=20), WHOLE))


def test_the_full_width_is_measured_itself() -> None:
    assert corners_of(WHOLE, WHOLE) == [(WHOLE, 1.0)]


def test_a_depthwise_layer_stays_one_at_every_width() -> None:
    geometry = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    whole = LayerShape(kind="conv", inputs=64, outputs=64, sizes=(1, 8, 8), groups=64, **geometry)
    corners = corners_of(replace(whole, inputs=27, outputs=27, groups=27), whole)
    assert len(corners) == 2
    assert all(shape.inputs == shape.outputs == shape.groups for shape, _ in corners)


@pytest.mark.parametrize("form", [Form(weight="grid", bits=4), Form(weight="groups", bits=8), Form(weight="table")])
def test_weights_that_are_decoded_at_load_take_the_time_of_float_ones(form: Form) -> None:
    found = table()
    assert found.times(WHOLE, form) == found.times(WHOLE)
    assert list(found.entries) == [(WHOLE, FLOAT)]


def test_integer_kernels_have_a_time_of_their_own_whatever_the_bits() -> None:
    found = table()
    assert found.times(WHOLE, replace(INTEGER, bits=4)).inside_us == 0.5 * found.times(WHOLE).inside_us
    assert (WHOLE, INTEGER) in found.entries


def test_where_the_runtime_has_no_integer_kernel_the_layer_is_float_between_rounded_ends() -> None:
    geometry = {"kernel": (3,), "stride": (1,), "padding": (1,), "dilation": (1,)}
    turned = LayerShape(kind="conv_transpose", inputs=4, outputs=4, sizes=(1, 8), **geometry)
    assert table().runs_as(turned, INTEGER) == Form(input_rounded=True, output_rounded=True)


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    one, other = table(tmp_path / "t.json"), table(tmp_path / "t.json")
    one.times(WHOLE)
    other.times(replace(WHOLE, inputs=8))
    assert len(LatencyTable.load(tmp_path / "t.json").entries) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}'])
def test_a_damaged_table_is_said_by_load_and_begun_anew_by_open(content: str, tmp_path: Path) -> None:
    path = tmp_path / Machine.of(Target()).file_name
    path.write_text(content)
    with pytest.raises(ArtifactError, match="damaged, not a table of latencies"):
        LatencyTable.load(path)
    found = LatencyTable.open(folder=tmp_path)
    assert found.entries == {} and LatencyTable.load(path).machine == found.machine


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    one = table(tmp_path / "t.json")
    one.save()
    content = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(ArtifactError, match="format 99; this version reads 1"):
        LatencyTable.load(tmp_path / "t.json")


def test_another_machine_has_another_file() -> None:
    names = {replace(MACHINE, **change).file_name for change in ({}, {"cpu": "b"}, {"threads": 2}, {"version": "2"})}
    assert len(names) == 4
