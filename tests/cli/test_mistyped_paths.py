"""A mistyped path is answered with the nearest one, before anything heavy is loaded."""

import json
import subprocess
import sys

import pytest

from ..support.tiny_run import write_config

VERBS = {
    "predict": ["--input", "photo.png", "--output", "out"],
    "demo": [],
    "convert": ["--output", "x.safetensors"],
    "export": ["--output", "x.pt2", "--size", "64", "64"],
    "evaluate": [],
}
CALLS = [
    *([verb, "--weights", "rnus/kitchen", *more] for verb, more in VERBS.items()),
    *([verb, "--weights", "runs", *more] for verb, more in VERBS.items()),
    ["evaluate", "--conf_files", "seem.yaml", "--weights", "runs/kitchn"],
    ["evaluate", "--conf_files", "seem.yaml", "--overrides", "WEIGHT", "True", "RESUME_FROM", "rnus/kitchen"],
    ["predict", "--weights", "runs/kitchen", "--input", "phto.png", "--output", "out"],
    [
        "predict",
        "--weights",
        "runs/kitchen",
        "--input",
        "photo.png",
        "--output",
        "out",
        "--prompts",
        "runs/kitchn/clicks.json",
    ],
    ["train", "--conf_files", "runs/kitchn/config.yaml"],
    ["train", "--conf_files", "runs/kitchen"],
    ["train", "--conf_files", "seem.yaml", "--overrides", "WEIGHT", "True", "RESUME_FROM", "rnus/kitchen"],
    ["train", "--conf_files", "seem.yaml", "--resume", "runs/kitchn"],
    ["train", "--conf_files", "seem.yaml", "--overrides", "DATASETS.TRAIN", "[dta/tiny.yaml]"],
    ["validate", "data/tny.yaml"],
    ["report", "--run", "runs/kitchn"],
    ["score", "panoptic", "--gt_json", "dta/tiny.yaml", "--pred_json", "y"],
]
ANSWERS = [
    *["did you mean 'runs/kitchen'?"] * len(VERBS),
    *["runs holds no weights"] * len(VERBS),
    "--weights runs/kitchn: no such file or folder, did you mean 'kitchen'?",
    "no weights at 'rnus/kitchen', did you mean 'runs/kitchen'?",
    "--input phto.png: no such file or folder, did you mean 'photo.png'?",
    "--prompts runs/kitchn/clicks.json: no such file; the nearest that is there is 'runs/kitchen'",
    "did you mean 'runs/kitchen/config.yaml'?",
    "this is a folder, did you mean 'runs/kitchen/config.yaml'?",
    "did you mean 'runs/kitchen'?",
    "cannot resume from runs/kitchn: expected a checkpoint or run folder, did you mean 'kitchen'?",
    "no data set 'dta/tiny.yaml', did you mean 'data/tiny.yaml'?",
    "no data set 'data/tny.yaml', did you mean 'tiny.yaml'",
    "there is no run folder runs/kitchn, did you mean 'kitchen'?",
    "--gt_json dta/tiny.yaml: no such file, did you mean 'data/tiny.yaml'?",
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each of CALLS says, all in one process, which must not have loaded torch in the end."""
    folder = tmp_path_factory.mktemp("paths")
    write_config(folder)
    weights = folder / "runs" / "kitchen" / "weights" / "best"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").touch()
    (folder / "runs" / "kitchen" / "config.yaml").write_text("SEED: 0\n")
    (folder / "photo.png").touch()
    code = (
        "import contextlib, io, json, sys; from segfoundry.trainer.cli.main import main\n"
        "found = []\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as text:\n"
        "        found.append([main(words), 'torch' in sys.modules])\n"
        "    found[-1].append(text.getvalue())\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(CALLS)], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda n: " ".join(CALLS[n][:3]))
def test_the_nearest_path_is_named_before_torch_is_loaded(answers, number):
    code, torch, text = answers[number]
    assert code == 2 and not torch and ANSWERS[number] in text.partition("error: ")[2]


def test_a_folder_without_weights_names_those_around_it(answers):
    about = [text for words, (_, _, text) in zip(CALLS, answers, strict=True) if words[2:3] == ["runs"]]
    assert len(about) == len(VERBS) and all("There are some in runs/kitchen." in text for text in about)
