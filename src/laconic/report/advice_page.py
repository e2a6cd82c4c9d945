"""Advice as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from laconic.core.files import write_json, write_text
from laconic.report.advice import Advice
from laconic.report.markdown import literal, numbered, paired, titled
from laconic.report.step_table import WAY_TITLES, way_rows

ADVICE_FILES = ("advice.json", "advice.md", "advice.html")
NATS = (
    "A nat measures how far the answers move: the mean Kullback-Leibler divergence from the original's answers, on "
    "samples that nothing was fitted to. Below 0.001 hardly any answer changes; above 0.1 many do."
)


def advice_to_markdown(advice: Advice) -> str:
    """Returns the advice in GitHub's Markdown; every text shows as it is."""
    return "\n".join(part for part in _parts(advice) if part)


def advice_to_html(advice: Advice) -> str:
    """Returns the advice as one page that loads nothing."""
    environment = Environment(
        loader=PackageLoader("laconic", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("advice.html.jinja").render(
        advice=advice, titles=WAY_TITLES, ways=list(way_rows(advice.ways)), nats=NATS
    )


def write_advice(advice: Advice, folder: Path) -> Path:
    """Writes `advice.json`, `advice.md` and `advice.html` into a folder, each whole or not at all.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: a file cannot be written; the message names it.
    """
    data, text, page = (folder / name for name in ADVICE_FILES)
    write_json(data, advice.to_json())
    write_text(text, advice_to_markdown(advice))
    write_text(page, advice_to_html(advice))
    return page


def _parts(advice: Advice) -> Iterator[str]:
    yield f"# {literal(advice.answer)}\n"
    yield f"{literal(f'{advice.model}, to run in {advice.target}. Asked for: {advice.budget}.')}\n"
    yield _section("What to do", numbered(advice.steps))
    yield _section("What to expect of training", _lines(advice.training))
    yield titled("What was considered", WAY_TITLES, way_rows(advice.ways))
    yield f"{NATS}\n"
    yield _section("What may spoil it", _lines(advice.risks))
    yield _section("What it takes", paired(advice.costs))
    yield _section("Do it", "".join(f"    {line}\n" for line in advice.command.splitlines()))


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _lines(items: Sequence[str]) -> str:
    return "".join(f"- {literal(item)}\n" for item in items)
