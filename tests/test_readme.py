"""What the README shows exists: every name, command and option in it; and its Chinese twin shows the same."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer

import laconic
from laconic.cli import app

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
GROUP = typer.main.get_command(app)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[str]:
    """The indented blocks of a page, without their comments, which are in the page's own language."""
    found = re.findall(r"(?:^|\n)((?:\n?    [^\n]+\n)+)", text(name))
    return [re.sub(r"\s+#.*", "", re.sub(r"(?m)^    ", "", block)).strip() for block in found]


def python(name: str) -> list[str]:
    return [block for block in blocks(name) if "laconic." in block and not block.startswith("laconic")]


@pytest.mark.parametrize("name", READMES)
def test_every_name_in_the_python_snippets_exists(name: str) -> None:
    snippets = python(name)
    assert len(snippets) == 2
    seen = 0
    for node in (node for snippet in snippets for node in ast.walk(ast.parse(snippet))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = {"laconic": laconic, "result": laconic.Result}.get(node.value.id)
            known = dir(owner) + list(getattr(owner, "__dataclass_fields__", ())) if owner else [node.attr]
            assert node.attr in known, node.attr
            seen += owner is not None
    assert seen >= 12


@pytest.mark.parametrize("name", READMES)
def test_every_keyword_in_the_python_snippets_is_one_of_the_function(name: str) -> None:
    calls = [n for snippet in python(name) for n in ast.walk(ast.parse(snippet)) if isinstance(n, ast.Call)]
    named = [
        call for call in calls if isinstance(call.func, ast.Attribute) and ast.unparse(call.func).startswith("laconic.")
    ]
    assert named
    for call in named:
        signature = inspect.signature(getattr(laconic, call.func.attr))
        signature.bind(*call.args, **{keyword.arg: keyword.value for keyword in call.keywords})


@pytest.mark.parametrize("name", READMES)
def test_every_command_line_is_understood(name: str) -> None:
    lines = [line for block in blocks(name) for line in block.splitlines() if line.startswith("laconic ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line)[1:]
        command = GROUP.commands[words[0]]
        command.make_context(words[0], words[1:], resilient_parsing=False).close()


@pytest.mark.parametrize("name", READMES)
def test_every_make_target_and_link_is_there(name: str) -> None:
    targets = re.findall(r"(?m)^(\w+):", text("Makefile"))
    named = set(re.findall(r"\bmake (\w+)", text(name)))
    assert {"demo", "test"} <= named <= set(targets)
    for link in re.findall(r"\]\(([^)#]+)\)", text(name)):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_the_two_commands_stand_at_the_top() -> None:
    for name in READMES:
        assert blocks(name)[0].splitlines() == ["make demo", "make test"]


def test_the_twins_have_the_same_code_and_as_many_headings_and_rows() -> None:
    english, chinese = READMES
    assert blocks(english) == blocks(chinese)
    for mark in (r"(?m)^#+ ", r"(?m)^\|", r"`[^`]+`"):
        assert len(re.findall(mark, text(english))) == len(re.findall(mark, text(chinese))), mark
    assert re.findall(r"(?m)^#+ (?=\w)", text(english)) == re.findall(r"(?m)^#+ (?=\w)", text(chinese))


def test_exit_codes_are_said_as_the_shell_has_them() -> None:
    assert "0 done, 1 failed, 2 wrong usage, 3 budget not met" in text("README.md")
