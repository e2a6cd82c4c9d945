"""The shell: `laconic demo | compress | distill | ...`: every command of `commands.ALL`, guarded."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from laconic.cli import commands
from laconic.core.errors import LaconicError, UsageError

DONE, FAILED, WRONG_USAGE, BUDGET_NOT_MET = range(4)

app = typer.Typer(
    name="laconic",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Make trained PyTorch networks small and fast, and prove it.\n\n"
    "Start with `laconic demo`. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 budget not met.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("laconic"))
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def _going_on(given: Mapping[str, object]) -> str:
    """Returns how a command that was stopped can be gone on with."""
    if given.get("work") is None:
        return "with --work FOLDER it can be gone on with."
    return f"what is done is kept in {given['work']}; the same command{' with --resume' * ('resume' in given)} goes on."


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turns a user's mistake, or Ctrl-C, into one line on standard error and an exit code."""

    @functools.wraps(command)
    def guarded(*args: object, **kwargs: object) -> None:
        try:
            with _warnings_in_one_line():
                command(*args, **kwargs)
        except UsageError as error:
            _fail(str(error), WRONG_USAGE)
        except LaconicError as error:
            _fail(str(error), FAILED)
        except KeyboardInterrupt:
            _fail(f"stopped. Nothing half-written is left; {_going_on(kwargs)}", FAILED)

    return guarded


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Inside, a warning is a line on standard error, without the place in the code where it was raised."""

    def show(message: Warning | str, *place: object, **more: object) -> None:
        print(f"laconic: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _fail(message: str, code: int) -> NoReturn:
    print(f"laconic: {message}", file=sys.stderr)
    raise typer.Exit(code)


for command in commands.ALL:
    app.command()(_guarded(command))


def main() -> None:
    """Runs the command that the process was started with."""
    app()
