"""Work in several processes, and results that appear all at once."""

import pytest

from segfoundry.datasets.prepare.parallel import run_parallel
from segfoundry.datasets.prepare.staging import check_output, staged
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import image_size


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_errors(workers):
    assert list(run_parallel(abs, [-3, 2, -1], workers=workers)) == [3, 2, 1]
    with pytest.raises(DataError, match="no such image"):
        list(run_parallel(image_size, ["nowhere.png"], workers=workers))


def test_progress_as_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr("segfoundry.datasets.prepare.parallel._LINE_SECONDS", 0.0)
    assert list(run_parallel(abs, [1, 2], workers=0, label="count")) == [1, 2]
    assert capsys.readouterr().err.splitlines() == ["count: 1/2", "count: 2/2"]


def test_staging_swaps_all_or_nothing(tmp_path):
    file, folder = tmp_path / "a.json", tmp_path / "a"
    for content in ("old", "new"):
        with staged(file, folder) as (json_path, png_path):
            json_path.write_text(content)
            png_path.mkdir()
            (png_path / content).touch()
    with pytest.raises(RuntimeError), staged(file, folder) as (json_path, png_path):
        json_path.write_text("broken")
        raise RuntimeError
    with pytest.raises(FileNotFoundError), staged(file, folder) as (json_path, png_path):
        json_path.write_text("the folder was forgotten")
    assert file.read_text() == "new" and [p.name for p in folder.iterdir()] == ["new"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.json"]


def test_inputs_are_never_overwritten(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(DataError, match="holds the input"):
        check_output(tmp_path, force=True, inputs=[tmp_path / "x"])
    with pytest.raises(DataError, match="holds the input"):
        check_output(tmp_path / "x", force=True, inputs=[tmp_path / "x"])
