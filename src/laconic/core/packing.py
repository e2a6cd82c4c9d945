"""A plan in the fewest bytes."""

from __future__ import annotations

import json

from laconic.core.codings import Zipped
from laconic.core.edit import Edit, Recode
from laconic.core.plan import Plan


def pack(plan: Plan) -> Plan:
    """Entropy codes each coding of a plan that becomes smaller by it, description included; values stay bit for bit.

    Args:
        plan: its `Recode` edits are looked at, one by one; others stay.

    Guarantees:
        Applied, it gives the same model, bit for bit.
        Its `size_bytes` is not larger.

    Example:
        >>> import torch
        >>> from laconic.core.codings import Dense
        >>> plan = Plan.of([Recode("w", Dense.of(torch.zeros(64, 64)))])
        >>> plan.size_bytes > 16000, pack(plan).size_bytes < 1000
        (True, True)
    """
    return Plan.of(_packed(edit) for edit in plan)


def unzipped(edit: Recode) -> Recode:
    """Returns an edit with the coding that an entropy coder may have wrapped."""
    return Recode(edit.parameter, edit.coding.inner) if isinstance(edit.coding, Zipped) else edit


def _packed(edit: Edit) -> Edit:
    if not isinstance(edit, Recode) or isinstance(edit.coding, Zipped):
        return edit
    smaller = Recode(edit.parameter, Zipped.of(edit.coding))
    return smaller if _cost(smaller) < _cost(edit) else edit


def _cost(edit: Recode) -> int:
    """Bytes of the values and of the description."""
    return edit.coding.size_bytes + len(json.dumps(edit.config(), indent=1))
