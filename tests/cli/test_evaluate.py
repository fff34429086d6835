"""The verb ``evaluate``."""

import json

import pytest
import torch

from segfoundry.modeling.sam import sam_model_registry
from segfoundry.trainer.cli.main import main

from ..support.tiny_data import write_dataset
from ..support.tiny_run import run, write_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    config = write_config(folder, SOLVER__MAX_ITERS=6, SOLVER__BASE_LR=0.002)
    assert main(["train", "--conf_files", str(config)]) == 0
    return folder, config


def figures(path):
    content = json.loads((path / "tiny" / "metrics.json").read_text())
    return {kind: content[kind] for kind in ("panoptic", "semantic", "instance") if kind in content}


def test_run_folder_weight_file_and_keys_give_the_figures_of_training(trained, tmp_path):
    folder, config = trained
    run_folder = folder / "runs" / "seem"
    expected = figures(run_folder / "eval")
    best = run_folder / "weights" / "best" / "model.safetensors"
    calls = [
        ["--weights", str(run_folder)],
        ["--conf_files", str(config), "--weights", str(best)],
        ["--conf_files", str(config), "--overrides", "WEIGHT", "True", "RESUME_FROM", str(best)],
        [
            "--conf_files",
            str(run_folder / "config.yaml"),
            "--overrides",
            "WEIGHT",
            "True",
            "RESUME_FROM",
            str(run_folder),
        ],
        ["--conf_files", str(config)],
    ]
    for number, words in enumerate(calls):
        output = tmp_path / str(number)
        options, overrides = (
            (words[: words.index("--overrides")], words[words.index("--overrides") :])
            if "--overrides" in words
            else (words, [])
        )
        assert main(["evaluate", *options, "--output", str(output), *overrides]) == 0
        assert figures(output) == expected
    assert json.loads((tmp_path / "1" / "tiny" / "metrics.json").read_text())["weights"] == str(best)


def test_results_go_into_the_run_folder_by_default(trained):
    folder, _ = trained
    target = folder / "runs" / "seem" / "eval" / "tiny" / "metrics.json"
    target.unlink()
    assert main(["evaluate", "--weights", str(folder / "runs" / "seem")]) == 0
    assert target.is_file()


def test_switched_off_parts_are_left_out_and_nothing_left_is_an_error(trained, tmp_path, capsys):
    folder, _ = trained
    words = ["evaluate", "--weights", str(folder / "runs" / "seem"), "--output", str(tmp_path), "--overrides"]
    off = [f"MODEL.DECODER.TEST.{name}_ON" for name in ("PANOPTIC", "INSTANCE", "SEMANTIC")]
    assert main([*words, off[0], "False", off[1], "False"]) == 0
    assert set(figures(tmp_path)) == {"semantic"}
    assert main([*words, *(w for key in off for w in (key, "False"))]) == 2
    assert "nothing to evaluate on 'tiny'" in capsys.readouterr().err


def test_a_weight_file_that_is_not_measured_is_said(trained, tmp_path, capsys):
    folder, config = trained
    words = ["evaluate", "--conf_files", str(config), "--output", str(tmp_path), "--overrides", "RESUME_FROM", "a.pt"]
    assert main(words) == 0
    text = capsys.readouterr().err
    assert (
        "warning: RESUME_FROM a.pt (--overrides) is NOT READ" in text and f"{folder / 'runs' / 'seem'}/weights" in text
    )


def test_no_weights_names_the_keys(trained, capsys):
    _, config = trained
    assert main(["evaluate", "--conf_files", str(config), "--overrides", "EXP_NAME", "nothing"]) == 2
    assert "WEIGHT True RESUME_FROM" in capsys.readouterr().err
    assert main(["evaluate"]) == 2
    assert "--conf_files" in capsys.readouterr().err
    assert main(["evaluate", "--weights", "no/run"]) == 2
    assert "no/run: no such file" in capsys.readouterr().err


def test_foreign_damaged_and_missing_weights_are_refused(trained, tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    _, config = trained
    save_file({"something.else": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"garbage")
    for name in ("foreign.safetensors", "broken.safetensors", "missing.safetensors"):
        assert main(["evaluate", "--conf_files", str(config), "--weights", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err


def test_two_processes_give_the_same_figures(trained, tmp_path):
    folder, _ = trained
    words = ["evaluate", "--weights", folder / "runs" / "seem", "--output"]
    assert main([*map(str, words), str(tmp_path / "one")]) == 0
    done = run(*words, tmp_path / "two", "--num-gpus", "2")
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path / "one") == figures(tmp_path / "two")


@pytest.mark.slow
def test_clicks_and_phrases_are_the_same_in_one_process_and_two(trained, tmp_path):
    folder, _ = trained
    record = json.loads((folder / "data" / "tiny.yaml").read_text())
    panoptic = json.loads((folder / "data" / "val" / "panoptic.json").read_text())
    annotations = [
        {"image_id": a["image_id"], "segment_id": s["id"], "sentences": [{"raw": f"the {s['id']}."}, {"raw": "it"}]}
        for a in panoptic["annotations"]
        for s in a["segments_info"]
    ]
    (folder / "data" / "val" / "grounding.json").write_text(json.dumps({"annotations": annotations}))
    record["splits"]["val"]["grounding"] = "val/grounding.json"
    (folder / "data" / "prompted.yaml").write_text(json.dumps(record))
    words = ["evaluate", "--weights", folder / "runs" / "seem", "--output"]
    keys = ["DATASETS.TEST", f"[{folder / 'data' / 'prompted.yaml'}]", "STROKE_SAMPLER.EVAL.MAX_ITER", "3"]
    keys += ["TEST.EVALUATORS", "[interactive, referring]", "TEST.SENTENCES", "all", "TEST.BATCH_SIZE_TOTAL", "2"]
    assert main([*map(str, words), str(tmp_path / "one"), "--overrides", *keys]) == 0
    done = run(*words, tmp_path / "two", "--num-gpus", "2", "--overrides", *keys)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / n / "tiny" / "metrics.json").read_text()) for n in ("one", "two"))
    objects = sum(len(a["segments_info"]) for a in panoptic["annotations"])
    assert one["interactive"]["counts"] == {"images": 3, "objects": objects}
    assert one["referring"]["counts"]["phrases"] == 2 * objects
    assert one["interactive"] == two["interactive"] and one["referring"] == two["referring"]
    assert "panoptic" not in one and one["protocol"]["referring"]["sentences"] == "all"
    scored = tmp_path / "scored.json"
    found = str(tmp_path / "one" / "tiny" / "referring_predictions.json")
    again = ["score", "referring", "--record", str(folder / "data" / "prompted.yaml"), "--pred_json", found]
    assert main([*again, "--sentences", "all", "--output", str(scored)]) == 0
    assert 100 * json.loads(scored.read_text())["cIoU"] == pytest.approx(one["referring"]["cIoU"], abs=1e-9)


@pytest.mark.slow
def test_a_published_file_brings_its_configuration(tmp_path):
    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_t"]().state_dict(), tmp_path / "mobile_sam.pt")
    record = write_dataset(tmp_path / "data", val=1)
    quick = ["SAM.IMAGE_SIZE", "64", "SAM.CLICKS.MAX_ITER", "1", "SAVE_DIR", tmp_path / "runs"]
    done = run(
        "evaluate", "--weights", tmp_path / "mobile_sam.pt", "--overrides", "DATASETS.TEST", f"[{record}]", *quick
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs/mobile_sam/eval/tiny/metrics.json").read_text())
    assert "noc@0.85" in metrics["interactive"]
    (tmp_path / "other.pt").write_bytes(b"nothing")
    done = run("evaluate", "--weights", tmp_path / "other.pt")
    assert done.returncode == 2 and "other.pt" in done.stderr and "Traceback" not in done.stderr
