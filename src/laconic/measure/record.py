"""How measured records are built: checked on the way in, whether from code or from a file."""

from pydantic import ConfigDict

# A misspelled key in a file is an error, and a figure is a number: NaN and infinity never reach a report.
RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)
