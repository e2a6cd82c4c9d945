"""Where features are read: a module by its path, and what of its output."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from laconic.core.errors import UsageError, invalid

Answer = TypeVar("Answer")
FORM = re.compile(r"(?P<path>[^:\[\]]*)(?P<input>:input)?(?:\[(?P<key>[^\[\]]+)\])?")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place in a model.

    Args:
        path: of a module, as `named_modules` gives it.
        entering: what goes into the module is read, not what comes out.
        key: which entry of it; None: the tensor itself, or the first entry.
    """

    path: str
    entering: bool = False
    key: int | str | None = None

    @classmethod
    def parse(cls, text: str) -> Site:
        """Reads `path`, `path:input`, `path[1]`, `path:input[mask]`.

        Example:
            >>> Site.parse("encoder.layer.3.attention[1]")
            Site(path='encoder.layer.3.attention', entering=False, key=1)
        """
        if not (found := FORM.fullmatch(text)):
            raise invalid("Match", text, "a module's path such as 'encoder.layer.3', 'fc:input' or 'attention[1]'")
        key = found["key"]
        return cls(path=found["path"], entering=bool(found["input"]), key=int(key) if key and key.isdigit() else key)

    def __str__(self) -> str:
        return f"{self.path}{':input' * self.entering}" + ("" if self.key is None else f"[{self.key}]")

    def module(self, model: nn.Module) -> nn.Module:
        """Returns the module.

        Raises:
            UsageError: there is none of that path; the nearest ones are given.
        """
        try:
            return model.get_submodule(self.path)
        except AttributeError:
            known = [path for path, _ in model.named_modules(remove_duplicate=False)]
        near = difflib.get_close_matches(self.path, known, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "See model.named_modules()."
        raise invalid("Match", self.path, f"the path of a module of {type(model).__name__}", hint)

    def read(self, found: Any) -> Tensor:
        """Returns the tensor of this site from what the module was given or gave.

        Raises:
            UsageError: it is not a tensor, or there is no such entry.
        """
        value = _entry(found, self.key)
        if not isinstance(value, Tensor):
            raise invalid(
                f"Match: what is read at {self}",
                type(value if self.key is not None else found).__name__,
                "a tensor, or a tuple that starts with one",
                f"Say which entry, as in '{self.path}[1]' or '{self.path}[hidden_states]'.",
            )
        return value


def _entry(found: Any, key: int | str | None) -> Any:
    if key is None:
        return found[0] if isinstance(found, Sequence) and found else found
    if isinstance(found, Mapping):
        return found.get(key)
    if isinstance(key, int):
        return found[key] if isinstance(found, Sequence) and key < len(found) else None
    return getattr(found, key, None)


def overhear(call: Callable[[], Answer], model: nn.Module, sites: Sequence[Site]) -> tuple[Answer, tuple[Tensor, ...]]:
    """Returns what `call` returns, and what is heard at the sites of the model meanwhile.

    Hooks are there for the time of the call only, whether it fails or not. Copies are heard: an operator in place that
    follows (such as a ReLU) does not change them.

    Raises:
        UsageError: there is no such module, it is not called exactly once, or no tensor is found there.
    """
    heard: list[list[Tensor]] = [[] for _ in sites]
    with ExitStack() as stack:
        for site, features in zip(sites, heard, strict=True):
            stack.callback(_listen(site, site.module(model), features).remove)
        answer = call()
    for site, features in zip(sites, heard, strict=True):
        _check_once(site, len(features))
    return answer, tuple(features[0] for features in heard)


def _listen(site: Site, module: nn.Module, features: list[Tensor]) -> Any:
    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = kwargs if isinstance(site.key, str) else (*args, *kwargs.values())
        features.append(site.read(given).clone())

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        features.append(site.read(output).clone())

    if site.entering:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def _check_once(site: Site, calls: int) -> None:
    if calls == 1:
        return
    said = "is never called" if calls == 0 else f"is called {calls} times"
    raise UsageError(
        f"Match: the module {site.path!r} {said} in one forward pass; expected exactly one call. Name a module that "
        "runs once, such as the one around it."
    )
