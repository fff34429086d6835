"""The folder of computed arrays: damage, rivals, bounds."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.utils.array_cache import ArrayCache, cache_folder

NAME, OTHER = "0" * 64, "1" * 64


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_an_array_comes_back_as_it_was(tmp_path: Path, dtype: str) -> None:
    cache = ArrayCache(tmp_path / "new" / "folder")
    array = np.arange(12).reshape(3, 4).T.astype(dtype)
    assert cache.get(NAME) is None
    cache.put(NAME, array)
    found = cache.get(NAME)
    assert found is not None and found.dtype == array.dtype and np.array_equal(found, array)
    assert cache.get(OTHER) is None


@given(place=st.integers(0, 10_000), value=st.integers(1, 255), keep=st.integers(0, 10_000), cut=st.booleans())
def test_a_damaged_file_counts_as_absent(tmp_path_factory, place: int, value: int, keep: int, cut: bool) -> None:
    cache = ArrayCache(tmp_path_factory.getbasetemp() / "damage")
    cache.put(NAME, np.ones((4, 5), np.float32))
    (file,) = cache.folder.glob("*.array")
    content = bytearray(file.read_bytes())
    if cut:
        file.write_bytes(content[: keep % len(content)])
    else:
        content[place % len(content)] ^= value
        file.write_bytes(content)
    assert cache.get(NAME) is None
    cache.put(NAME, np.ones((4, 5), np.float32))
    assert cache.get(NAME) is not None


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    with pytest.raises(ValueError):
        cache.put(NAME, np.array([object()], dtype=object))
    assert list(tmp_path.glob("*.array")) == []


def test_what_was_unused_for_longest_goes_first(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, max_bytes=1000)
    names = [f"{number:064x}" for number in range(4)]
    for age, name in enumerate(names):
        cache.put(name, np.zeros(50, np.float64))
        os.utime(tmp_path / f"{name}.array", (time.time() - 100 + age,) * 2)
    assert cache.get(names[0]) is not None  # used just now
    cache.trim()
    assert [cache.get(name) is not None for name in names] == [True, False, False, False]


def test_leftovers_of_crashed_writers_go(tmp_path: Path) -> None:
    old, new = tmp_path / f".{NAME}.array.tmp-old", tmp_path / f".{NAME}.array.tmp-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    ArrayCache(tmp_path).trim()
    assert not old.exists() and new.exists()


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("")
    cache = ArrayCache(tmp_path / "file" / "cache")
    with cache.lock():
        cache.put(NAME, np.ones(3))
    cache.put(OTHER, np.ones(3))
    cache.trim()
    assert cache.get(NAME) is None
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "SEGFOUNDRY_CACHE" in caplog.text


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        ArrayCache(tmp_path).get("../../etc/passwd")


def test_folder_follows_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SEGFOUNDRY_CACHE", str(tmp_path))
    assert cache_folder("text") == tmp_path / "text"
    monkeypatch.delenv("SEGFOUNDRY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("text") == tmp_path / "xdg" / "segfoundry" / "text"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("text") == Path.home() / ".cache" / "segfoundry" / "text"


def _write_many(folder: Path, value: int) -> None:
    cache = ArrayCache(folder)
    for _ in range(20):
        with cache.lock():
            cache.put(NAME, np.full((200, 50), value))


def test_rival_writers_never_show_a_mixture(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, value)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        found = ArrayCache(tmp_path).get(NAME)
        if found is not None:
            seen.add(tuple(np.unique(found)))
    assert all(writer.exitcode == 0 for writer in writers)
    assert seen <= {(1,), (2,)}


def _count_up(folder: Path, times: int) -> None:
    cache, counter = ArrayCache(folder), folder / "counter"
    for _ in range(times):
        with cache.lock():
            counter.write_text(str(int(counter.read_text()) + 1))


def test_one_process_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=(tmp_path, 5)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "counter").read_text() == "15"
