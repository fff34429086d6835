"""Paths as users write them."""

from pathlib import Path

from segfoundry.utils.paths import user_path


def test_home_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/cables") == tmp_path / "cables"
    assert user_path("~no-such-user/cables") == Path("~no-such-user/cables")
    assert user_path("a/~b") == Path("a/~b")
