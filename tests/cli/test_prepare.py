"""The verb prepare, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from segfoundry.trainer.cli.main import main

from ..support.data_sets import ROOT, SAMPLE, color_mask, write_raw


@pytest.fixture
def words(tmp_path):
    raw = write_raw(tmp_path / "raw")
    inputs = ["--images", raw / "images", "--masks", raw / "masks", "--colors", raw / "colors.yaml"]
    return ["prepare", *map(str, inputs), "--output", str(tmp_path / "out"), "--workers", "0"]


def test_colour_masks(words, tmp_path, capsys):
    assert main([*words, "--split", "0.6", "--name", "kitchen", "--alias", "bdd10k_val_sem_seg:val", "mine"]) == 0
    text = capsys.readouterr().out
    assert "images: 3 train, 2 val" in text and "cup 10" in text and "entry.py validate" in text
    record = (tmp_path / "out" / "kitchen.yaml").read_text()
    assert "bdd10k_val_sem_seg: val" in record
    assert main(["validate", str(tmp_path / "out"), "--workers", "0"]) == 0


def test_names_that_read_the_same_are_told(words, tmp_path, capsys):
    table = tmp_path / "raw" / "colors.yaml"
    table.write_text(table.read_text().replace("name: cup", "name: WALL"))
    assert main(words) == 0
    assert "the categories 'wall' and 'WALL' are one" in capsys.readouterr().out


def test_errors_are_one_message_and_exit_2(words, tmp_path, capsys):
    mask = color_mask()
    mask[2, 3] = (1, 2, 3)
    Image.fromarray(mask).save(tmp_path / "raw" / "masks" / "b.png")
    assert main(words) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: 1 pixels in 1 masks") and "Traceback" not in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--split", "-0.1"], "--split -0.1"),
        (["--things_only"], "--things_only: no effect"),
        (["--embedded", "scenes"], "no effect with --embedded"),
        (["--convert", "detection2pan"], "did you mean 'detection2panoptic'"),
        (["--alias", "x:tset"], "train and val"),
        (["--colors", "nowhere.yaml"], "no such colour table"),
        (["--masks", "nowhere"], "no such folder"),
    ],
)
def test_wrong_options(words, capsys, extra, text):
    assert main([*words, *extra]) == 2
    assert text in capsys.readouterr().err


def test_missing_options_are_named(capsys):
    assert main(["prepare", "--images", "x"]) == 2
    assert "--colors, --masks, --output" in capsys.readouterr().err
    assert main(["prepare", "--convert", "panoptic2semantic", "--input", "x.json"]) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no sample data (SEGFOUNDRY_DATA)")
def test_converters(tmp_path, capsys):
    source = ["--input", str(SAMPLE / "gt.json"), "--workers", "0"]
    masks = ["--masks", str(SAMPLE / "gt")]
    convert = lambda kind, *more: main(["prepare", "--convert", kind, *more])  # noqa: E731
    assert convert("panoptic2detection", *source, *masks, "--output", f"{tmp_path}/d.json", "--things-only") == 0
    assert convert("panoptic2semantic", *source, *masks, "--output", f"{tmp_path}/s") == 0
    assert convert("panoptic2semantic", *source, *masks, "--output", f"{tmp_path}/s.json", "--things_other") == 0
    two = ["--masks", str(SAMPLE / "two_channel"), "--categories", str(SAMPLE / "gt.json")]
    assert convert("2channels2panoptic", *source, *two, "--output", f"{tmp_path}/t") == 0
    back = ["--input", f"{tmp_path}/d.json", "--output", f"{tmp_path}/p.json", "--workers", "0"]
    assert convert("detection2panoptic", *back) == 0
    assert convert("detection2panoptic", *back) == 2
    assert "--force" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "p.json").read_text())["annotations"]) == 2
    assert len(list((tmp_path / "t" / "panoptic").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train"), [("scenes", "images: 300 train, 40 val"), ("cables", "configs/sam/tiny.yaml")]
)
def test_embedded_data_from_any_folder_without_torch(tmp_path, name, train):
    code = (
        f"import sys; sys.argv = ['entry.py', 'prepare', '--embedded', '{name}', '--output', 'demo']\n"
        "from segfoundry.trainer.cli.main import main\nassert main() == 0\nassert 'torch' not in sys.modules"
    )
    (tmp_path / "run.py").write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'src')!r}]\nif __name__ == '__main__':\n    exec({code!r})"
    )
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert train in done.stdout and (tmp_path / "demo" / f"{name}.yaml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("made", [".scenes-*/images/*", ".demo.tmp-*/*"])
def test_two_interrupts_leave_nothing_and_no_process(tmp_path, made):
    command = [
        sys.executable,
        str(ROOT / "entry.py"),
        "prepare",
        "--embedded",
        "scenes",
        "--output",
        "demo",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any(tmp_path.glob(made)):  # while pictures are drawn, and while the data set is made of them
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    for _ in range(2):  # impatient Ctrl-C reaches the whole process group
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, text = process.communicate(timeout=300)  # waits for the workers too: they hold the pipe
    assert process.returncode in (0, 130), text
    assert [p.name for p in tmp_path.iterdir()] in ([], ["demo"]), "temporary folders were left behind"


def test_counts_are_whole_numbers_and_without_a_held_back_part_nothing_is_evaluated(tmp_path, capsys):
    raw = write_raw(tmp_path / "raw")
    words = ["prepare", "--images", f"{raw}/images", "--masks", f"{raw}/masks", "--colors", f"{raw}/colors.yaml"]
    words += ["--output", f"{tmp_path}/my set"]
    assert main([*words, "--workers", "-3"]) == 2
    assert "argument --workers: '-3': expected a whole number" in capsys.readouterr().err
    assert main([*words, "--workers", "0", "--split", "1"]) == 0
    assert f"DATASETS.TRAIN '{tmp_path}/my set/my set.yaml' DATASETS.TEST '[]'" in capsys.readouterr().out
