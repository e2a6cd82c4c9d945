from pathlib import Path

from laconic.core.caches import cache_folder


def test_each_system_keeps_caches_where_it_wants_them() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/there"}, "linux") == Path("/there/laconic")
    assert cache_folder({}, "linux") == Path.home() / ".cache" / "laconic"
    assert cache_folder({}, "darwin") == Path.home() / "Library" / "Caches" / "laconic"
    assert cache_folder({"LOCALAPPDATA": "there"}, "win32") == Path("there") / "laconic"


def test_the_users_own_folder_comes_first() -> None:
    assert cache_folder({"LACONIC_CACHE": "/own", "XDG_CACHE_HOME": "/there"}, "linux") == Path("/own")
