"""How measured records are built and written: checked on the way in, whether from code or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from laconic.core.errors import ArtifactError

# A misspelled key in a file is an error, and a figure is a number: NaN and infinity never reach a report.
RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)
Record = TypeVar("Record")


def to_json(record: object) -> dict[str, Any]:
    """Returns a record as JSON values."""
    found: dict[str, Any] = TypeAdapter(type(record)).dump_python(record, mode="json")
    return found


def from_json(kind: type[Record], content: Mapping[str, Any]) -> Record:
    """Undoes `to_json`.

    Raises:
        ArtifactError: a key is unknown or missing, or a value makes no sense; the message names the first such.
    """
    try:
        found: Record = TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (kind.__name__, *first["loc"]))
        what = first["msg"].rstrip(".")
        raise ArtifactError(f"{where}: {what}. The file is damaged or of another version.") from error
    return found
