"""Advice as it is printed: what is recommended comes first, and what does not fit on a screen is counted."""

import io

from rich.console import Console

from laconic.core.budget import Budget
from laconic.core.target import Target
from laconic.report import Advice, Way, advice


def printed(count: int) -> str:
    ways = [Way(plan=f"way {i}", size_bytes=1000, macs=10, nats=0.1, verdict="too large") for i in range(count)]
    chosen = Way(plan="the best", size_bytes=100, macs=10, nats=1e-7, verdict="recommended")
    refused = Way(plan="nothing", size_bytes=100, macs=0, nats=None, verdict="all is frozen")
    found = Advice(
        model="Net",
        target=Target.parse("onnxruntime"),
        budget=Budget(size=0.1),
        feasible=True,
        answer="8-bit integers: about 4.0 times smaller",
        steps=("Store every weight in 8 bits: 4 KB become about 1 KB.",),
        ways=(refused, *ways, chosen),
        command="laconic compress net:build",
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(advice(found))
    return console.export_text()


def test_what_is_recommended_comes_first_and_what_is_impossible_last() -> None:
    text = printed(2)
    places = [text.index(words) for words in ("the best", "way 0", "way 1", "not possible")]
    assert places == sorted(places) and "more:" not in text


def test_what_does_not_fit_is_counted() -> None:
    text = printed(20)
    assert "and 14 more: --out FOLDER writes all of them" in text and "way 7" not in text
