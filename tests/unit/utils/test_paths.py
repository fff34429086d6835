"""Paths as users write them."""

from pathlib import Path

from segfoundry.utils.paths import user_path


def test_home_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/cables") == Path("/home/me/cables")
    assert user_path("~no-such-user/cables") == Path("~no-such-user/cables")
    assert user_path("a/~b") == Path("a/~b")
