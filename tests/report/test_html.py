from html.parser import HTMLParser

import pytest

from laconic.report import rows, to_html

from . import samples

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page: its texts, its attributes, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.styles = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        elif self.open and self.open[-1] != "script":
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


@pytest.fixture(scope="module", params=samples.ALL)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(to_html(samples.ALL[request.param]()))


def test_every_element_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    loaded = [(tag, value) for tag, name, value in page.attributes if name in {"src", "href", "srcset", "data"}]
    assert loaded == [("link", "data:,")]
    assert "url(" not in page.styles
    assert "@import" not in page.styles


def test_the_browser_is_forbidden_to_load_anything(page: Page) -> None:
    policies = [value for tag, name, value in page.attributes if tag == "meta" and value.startswith("default-src")]
    assert policies == ["default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"]


def test_every_identifier_is_used_once(page: Page) -> None:
    found = [value for _, name, value in page.attributes if name == "id"]
    assert len(found) == len(set(found))


def test_labels_point_to_what_is_there(page: Page) -> None:
    there = {value for _, name, value in page.attributes if name == "id"}
    assert {value for _, name, value in page.attributes if name == "aria-labelledby"} <= there


def test_the_page_says_every_figure_method_fact_and_the_command() -> None:
    report = samples.digits()
    text = Page(to_html(report)).text
    for row in rows(report.original, report.compressed):
        for words in (row.figure, row.meaning, row.original.detail, row.compressed.value, row.ratio.detail):
            assert words in text
    for name, value in (*report.methods, *report.facts):
        assert name in text and value in text
    for words in (report.command, *report.plan_words, *report.warnings, *(one.why for one in report.attempts)):
        assert words in text


def test_texts_of_the_report_show_as_they_are() -> None:
    found = Page(to_html(samples.hostile()))
    assert " ".join(samples.HOSTILE.split()) in found.text
    assert "bold" not in [text for text in found.texts if text == "bold"]


def test_long_lists_are_folded_and_short_ones_are_open() -> None:
    def opened(name: str) -> int:
        attributes = Page(to_html(samples.ALL[name]())).attributes
        return sum(1 for tag, attribute, _ in attributes if (tag, attribute) == ("details", "open"))

    assert (opened("digits"), opened("huge")) == (2, 0)
