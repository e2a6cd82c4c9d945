import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from laconic.core.errors import ArtifactError
from laconic.measure import Agreement, Divergence, Figures, Interval, Latency, Score

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**60)
intervals = st.builds(Interval, low=numbers, high=numbers)
latencies = st.builds(
    Latency,
    median_ms=numbers,
    low_ms=numbers,
    high_ms=numbers,
    samples_ms=st.lists(numbers, max_size=3).map(tuple),
    calls_per_sample=counts,
)
scores = st.builds(
    Score,
    metric=st.text(),
    value=numbers,
    interval=st.none() | intervals,
    predictions=counts,
    higher_is_better=st.booleans(),
)
divergences = st.builds(
    Divergence,
    kl_nats=st.none() | numbers,
    kl_interval=st.none() | intervals,
    top1_agreement=st.none() | numbers,
    top1_interval=st.none() | intervals,
    relative_error=st.none() | numbers,
    predictions=counts,
)
agreements = st.builds(
    Agreement,
    max_abs_error=numbers,
    mean_abs_error=numbers,
    relative_error=st.none() | numbers,
    top1=st.none() | numbers,
    outputs=counts,
)
records = st.builds(
    Figures,
    name=st.text(),
    runtime=st.none() | st.text(),
    size_bytes=st.none() | counts,
    parameters=st.none() | counts,
    macs=st.none() | counts,
    latency=st.dictionaries(st.integers(1, 64), latencies, max_size=2),
    score=st.none() | scores,
    divergence=st.none() | divergences,
    agreement=st.none() | agreements,
    missing=st.dictionaries(st.just("peak_memory_bytes"), st.text()),
)


@given(figures=records)
def test_json_gives_back_the_same_figures(figures):
    text = json.dumps(figures.to_json(), allow_nan=False)
    assert Figures.from_json(json.loads(text)) == figures


def test_a_figure_that_is_not_there_has_a_reason():
    figures = Figures(name="x", missing={"macs": "the model cannot be captured"})
    assert figures.why("macs") == "the model cannot be captured"
    assert figures.why("size_bytes") == "not measured"


@pytest.mark.parametrize("name", ["mcas", "size_bytes", "name"])
def test_a_reason_for_an_unknown_or_a_measured_figure_is_refused(name):
    with pytest.raises(ValueError, match=rf"Figures.missing: got {name!r}"):
        Figures(name="x", size_bytes=0, missing={name: "no"})


def test_nan_is_no_figure():
    with pytest.raises(ValidationError):
        Interval(low=float("nan"), high=1.0)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"size": 3}, "size"),
        ({"size_bytes": "many"}, "size_bytes"),
        (
            {"latency": {"1": {"median_ms": 1, "low_ms": 1, "high_ms": 1, "samples_ms": [], "mean": 1}}},
            r"latency.1.mean",
        ),
        ({"agreement": {}}, "agreement.max_abs_error"),
    ],
)
def test_a_misspelled_misplaced_or_missing_entry_is_an_error_that_names_it(change, where):
    with pytest.raises(ArtifactError, match=rf"^Figures.{where}: .*damaged or of another version"):
        Figures.from_json({"name": "x", **change})
