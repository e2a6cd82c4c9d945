"""The page as a browser sees it: what is drawn, what fails, what is asked of the network."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from laconic.report import to_html
from laconic.report.layer_sizes import MOST_LAYERS

from . import samples

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: apt-get install chromium")

LISTEN = """<script>
const problems = [];
const note = (kind, what) => problems.push(kind + ": " + what);
addEventListener("error", event => note("error", event.message), true);
addEventListener("unhandledrejection", event => note("rejection", event.reason));
addEventListener("securitypolicyviolation", event => note("forbidden", event.blockedURI));
console.error = (...words) => note("console", words.join(" "));
console.warn = (...words) => note("console", words.join(" "));
alert = words => note("alert", words);
</script>"""
TELL = """<script>
addEventListener("load", () => setTimeout(() => {
  const texts = (plot, where) => [...plot.querySelectorAll(where)].map(found => found.textContent);
  const plots = Object.fromEntries([...document.querySelectorAll(".plotly-graph-div")].map(plot => {
    const bars = plot.querySelectorAll(".barlayer .point path").length;
    const points = plot.querySelectorAll(".scatterlayer .point").length;
    const errors = plot.querySelectorAll(".scatterlayer .yerror").length;
    const limits = plot.querySelectorAll(".shapelayer path").length;
    const ticks = texts(plot, ".ytick text");
    Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 0}]);
    const hover = texts(plot, ".hoverlayer .hovertext").join(" ");
    const box = plot.querySelector(".main-svg").getBoundingClientRect();
    return [plot.id, {bars, points, errors, limits, ticks, hover, right: box.right, width: box.width}];
  }));
  const found = {
    problems, plots, requests: performance.getEntriesByType("resource").map(entry => entry.name),
    page: document.documentElement.scrollWidth, window: innerWidth, bold: document.querySelectorAll("b").length,
  };
  document.documentElement.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
}, 300));
</script>"""


@pytest.fixture
def seen(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Opens a report in a browser of some width and returns what was found there."""

    def opened(page: str, width: int) -> dict[str, Any]:
        file = tmp_path / "report.html"
        file.write_text(page.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{TELL}</body>", 1))
        command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1000"]
        done = subprocess.run(
            [*command, "--virtual-time-budget=10000", "--dump-dom", file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        answer = re.search(r'<pre id="found">(.*)</pre>', done.stdout, flags=re.DOTALL)
        assert answer is not None, done.stderr[-2000:]
        found: dict[str, Any] = json.loads(html.unescape(answer[1]))
        return found

    return opened


def assert_quiet(found: dict[str, Any]) -> None:
    assert found["problems"] == []
    assert found["requests"] == []


def test_all_plots_draw_on_a_desktop_and_nothing_fails(seen: Callable[..., dict[str, Any]]) -> None:
    found = seen(to_html(samples.digits()), 1280)
    assert_quiet(found)
    assert list(found["plots"]) == ["score-against-size", "score-against-latency", "size-by-layer"]
    for name in ("score-against-size", "score-against-latency"):
        plot = found["plots"][name]
        assert (plot["points"], plot["errors"], plot["bars"]) == (4, 4, 0)
        assert plot["limits"] == 3
        assert "original" in plot["hover"]
    layers = found["plots"]["size-by-layer"]
    assert (layers["points"], layers["bars"]) == (0, 2 * len(samples.layers()))
    assert layers["ticks"] == [layer.name for layer in samples.layers()]
    assert found["page"] <= found["window"]


def test_hundreds_of_layers_fit_a_narrow_screen(seen: Callable[..., dict[str, Any]]) -> None:
    found = seen(to_html(samples.huge()), 500)
    assert_quiet(found)
    assert found["plots"]["size-by-layer"]["bars"] == 2 * MOST_LAYERS
    assert found["page"] <= found["window"] == 500
    assert all(0 < plot["right"] <= 500 for plot in found["plots"].values())


def test_texts_that_look_like_code_are_shown_and_not_run(seen: Callable[..., dict[str, Any]]) -> None:
    report = samples.hostile()
    name = "%{x} <b>bold</b> <a href='javascript:alert(1)'>link</a> </script>"
    layers = tuple(dataclasses.replace(layer, name=name) for layer in report.layers)
    found = seen(to_html(dataclasses.replace(report, layers=layers)), 1280)
    assert_quiet(found)
    assert found["bold"] == 0
    assert name in found["plots"]["size-by-layer"]["hover"]
    assert len(found["plots"]) == 3


def test_the_check_itself_notices_a_failing_script_and_a_request(seen: Callable[..., dict[str, Any]]) -> None:
    broken = '<script>missing();</script><img src="http://127.0.0.1:9/a.png"></main>'
    found = seen(to_html(samples.unmeasured()).replace("</main>", broken, 1), 1280)
    assert any("missing is not defined" in problem for problem in found["problems"])
    assert any("forbidden: http://127.0.0.1:9/a.png" in problem for problem in found["problems"])
    assert found["plots"] == {}
