import sys
from importlib.abc import MetaPathFinder
from unittest.mock import Mock

import pytest

import laconic_shell


class Stopped(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "laconic.cli":
            raise KeyboardInterrupt


def test_ctrl_c_while_everything_is_still_imported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "laconic.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopped(), *sys.meta_path])
    with pytest.raises(SystemExit, match=r"^laconic: stopped\. Nothing had begun yet\.$"):
        laconic_shell.main()


def test_the_command_is_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Mock()
    monkeypatch.setitem(sys.modules, "laconic.cli", Mock(main=shell))
    laconic_shell.main()
    shell.assert_called_once_with()
