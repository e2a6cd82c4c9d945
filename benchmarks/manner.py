"""The manner that all benchmarks share: options, a table while they run, one JSON object as the last line."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
DATA = REPOSITORY.parent / "shared" / "data"


def options(description: str, rows: Sequence[str], *, seeds: int, writes: bool = False) -> argparse.Namespace:
    """Reads `--only ROW` (may be repeated) and `--seeds N`; `rows` is then what to run, `seeds` a range."""
    parser = argparse.ArgumentParser(description=description)
    if writes:
        parser.add_argument("--write", action="store_true", help="keep each row among the results once it is there")
    said = "run this row alone; may be given several times (a wrong one lists all)"
    parser.add_argument("--only", action="append", choices=rows, metavar="ROW", help=said)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"how many seeds, from 0 (default {seeds})")
    given = parser.parse_args()
    given.rows, given.seeds = given.only or list(rows), range(given.seeds)
    return given


def work_folder() -> Path:
    """Takes `--work FOLDER` out of the command line: where runs go on; without it, a new one."""
    place = sys.argv.index("--work") if "--work" in sys.argv else 0
    folder = Path(sys.argv[place + 1] if place else tempfile.mkdtemp())
    del sys.argv[place or len(sys.argv) : place + 2]
    return folder


def line(*cells: object, widths: Sequence[int] | None = None) -> None:
    """Prints one line of a table at once."""
    widths = widths or [24] + [14] * (len(cells) - 1)
    print("".join(str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)), flush=True)


def finish(result: dict[str, Any]) -> None:
    """Prints the result as the last line."""
    print(json.dumps(result))


def keep(row: str, found: Any, result: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Puts one row into this script's file of results; `result` makes of all its rows what the last line would say."""
    path, old = REPOSITORY / "benchmarks" / "results" / f"{Path(sys.argv[0]).stem}.json", kept()
    rows = {**old["rows"], row: found}
    new = {**old, "date": datetime.date.today().isoformat(), "rows": rows, "result": result(rows)}
    path.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")


def kept() -> dict[str, Any]:
    """Returns this script's file of results: `rows`, as far as there are any, and `result`."""
    path = REPOSITORY / "benchmarks" / "results" / f"{Path(sys.argv[0]).stem}.json"
    found: dict[str, Any] = {"rows": {}, **json.loads(path.read_text(encoding="utf-8"))}
    return found


def command() -> str:
    """Returns how this run was started."""
    return " ".join([".venv/bin/python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def machine() -> str:
    """Returns the kind of machine, not which one."""
    return f"{platform.system()} {platform.machine()}"


def shared_data() -> Any:
    """Returns the reader of the public data sets beside the repository; leaves with a reason where it is absent."""
    if not (DATA / "read.py").exists():
        sys.exit("This benchmark needs the folder shared/data beside the repository.")
    sys.path.insert(0, str(DATA))
    import read

    return read
