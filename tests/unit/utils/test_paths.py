"""Paths as users write them."""

from pathlib import Path

import pytest

from segfoundry.utils.paths import nearest_path, user_path


def test_home_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/cables") == tmp_path / "cables"
    assert user_path("~no-such-user/cables") == Path("~no-such-user/cables")
    assert user_path("a/~b") == Path("a/~b")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("runs/kitchn", ", did you mean 'kitchen'?"),
        ("rnus/kitchn/config.yaml", ", did you mean 'runs/kitchen/config.yaml'?"),
        ("Runs/kitchen", ", did you mean 'runs/kitchen'?"),
        ("rnus/garden/config.yaml", "; the nearest that is there is 'runs'"),
        ("runs/garden/config.yaml", "; runs holds no 'garden' and nothing alike"),
        ("runs/kitchen/config.yaml/x", "; runs/kitchen/config.yaml is a file, no folder"),
        ("runs/kitchen/confg.yaml", ", did you mean 'config.yaml'?"),
        ("runs/kitchen/config.yml", ", did you mean 'config.yaml'?"),
        ("runs/kitchen/x.yaml", ""),
        ("zzz", ""),
        ("a\0b/" + "c" * 300, "a\0b"),
    ],
)
def test_the_nearest_path_is_named(tmp_path, monkeypatch, path, hint):
    (tmp_path / "runs" / "kitchen").mkdir(parents=True)
    (tmp_path / "runs" / "kitchen" / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert nearest_path(path) == hint if "\0" not in hint else repr(hint) in nearest_path(path)
    if "\0" not in path:
        assert nearest_path(tmp_path / path) == hint.replace("'runs", f"'{tmp_path}/runs").replace(
            "; runs", f"; {tmp_path}/runs"
        )
