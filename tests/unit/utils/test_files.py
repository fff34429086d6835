"""Atomic writing: old content or new content, never a part of either."""

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import zlib

import numpy as np
import pytest

from segfoundry.utils.files import (
    DiskError,
    atomic_write,
    atomic_write_json,
    atomic_write_text,
    check_free_space,
    crc32,
    disk_errors,
    human_size,
    sha256,
)


def test_new_file_in_new_folder_has_ordinary_permissions(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    atomic_write_text(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_error_inside_the_block_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="boom"), atomic_write(path) as file:
        file.write(b"new and longer")
        raise RuntimeError("boom")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_a_reader_never_sees_the_file_before_it_is_complete(tmp_path):
    path = tmp_path / "x.bin"
    with atomic_write(path) as file:
        file.write(b"part")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"part"


def test_json_converts_numpy_values(tmp_path):
    path = tmp_path / "m.json"
    atomic_write_json(path, {"pq": np.float64(0.5), "n": np.int64(3), "list": np.arange(2), "at": tmp_path})
    assert json.loads(path.read_text()) == {"pq": 0.5, "n": 3, "list": [0, 1], "at": str(tmp_path)}


@pytest.mark.parametrize(
    "value",
    [
        {"images": [{"id": 1, "size": [2, 3]}, {}], "n": 0.1, "grün": ["ü", None, True], "empty": [], "none": {}},
        [{"a": [1, {"b": []}]}, [], 2],
        {1: "a", "b": [1]},
        [],
        {},
        "text",
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_the_same_text_however_it_is_written(tmp_path, value, indent):
    atomic_write_json(tmp_path / "v.json", value, indent=indent)
    expected = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    assert (tmp_path / "v.json").read_bytes() == expected.encode()


def test_json_rows_of_an_iterator_are_a_list(tmp_path):
    rows = [{"id": 1}, {"id": 2}]
    atomic_write_json(tmp_path / "r.json", {"head": 1, "rows": iter(rows), "none": iter(())}, indent=None)
    assert (tmp_path / "r.json").read_text() == json.dumps({"head": 1, "rows": rows, "none": []}) + "\n"


def test_json_of_an_unknown_object_fails_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("{}")
    with pytest.raises(TypeError, match="object"):
        atomic_write_json(path, {"x": object()})
    assert path.read_text() == "{}"


def test_full_disk_names_path_and_free_bytes_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    script = (
        "import sys, resource, signal\n"
        "from segfoundry.utils.files import atomic_write, DiskError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with atomic_write(sys.argv[1]) as f:\n"
        "        f.write(bytes(5000))\n"
        "except DiskError as e:\n"
        "    print(e)\n"
    )
    assert hasattr(resource, "RLIMIT_FSIZE") and hasattr(signal, "SIGXFSZ")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    text = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, env=env, check=True
    ).stdout
    assert str(path) in text and "free" in text
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.bin"]


def test_disk_errors_passes_other_errors_on():
    with pytest.raises(PermissionError), disk_errors("x"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(DiskError, match="disk is full.*2.0 MB needed"), disk_errors("x", needed=2_000_000):
        raise OSError(errno.ENOSPC, "full")


def test_free_space_check(tmp_path):
    check_free_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(DiskError, match="needed.*free"):
        check_free_space(tmp_path, 1 << 62)


def test_wrong_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mode"), atomic_write(tmp_path / "x", "a"):
        pass


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_human_size(count, text):
    assert human_size(count) == text


def test_digests_of_a_file(tmp_path):
    content = os.urandom(5_000_000)
    (tmp_path / "x").write_bytes(content)
    assert crc32(tmp_path / "x") == f"{zlib.crc32(content):08x}"
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()
