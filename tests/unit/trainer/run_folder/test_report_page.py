import json
import re

import cv2
import numpy as np
import pytest

from segfoundry.datasets.tasks.registry import report_figures
from segfoundry.trainer.run_folder import report_page
from segfoundry.utils.errors import UserError


def write_report(folder):
    return report_page.write_report(folder, report_figures())


def run_folder(tmp_path):
    run = tmp_path / "my <run>"
    pictures = run / "eval" / "scenes" / "pictures"
    pictures.mkdir(parents=True)
    for i in range(14):
        cv2.imwrite(str(pictures / f"{i:03d}_img{i}.png"), np.full((30, 1600, 3), i * 10, np.uint8))
    metrics = {
        "unit": "percent",
        "panoptic": {"PQ": 61.25, "SQ": 70.0, "per_class": {"sky & <b>": {"PQ": 1.5, "SQ": None, "n": 3}}},
        "semantic": {"mIoU": float("nan")},
    }
    (run / "eval" / "scenes" / "metrics.json").write_text(json.dumps(metrics))
    lines = [{"step": i, "loss": 2.0 / (i + 1), "lr": 1e-4, "loss_dice_0": 1.0} for i in range(50)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 5')
    (run / "config.yaml").write_text("NAME: '<script>alert(1)</script>'\n")
    (run / "environment.json").write_text(json.dumps({"torch": "2.15.0", "gpu": {"count": 0}, "argv": ["a", "b"]}))
    (run / "log.txt").write_text("\n".join(f"line {i}" for i in range(200)))
    return run


def test_everything_is_inside_one_page(tmp_path):
    run = run_folder(tmp_path)
    page = write_report(run)
    text = page.read_text()
    assert page == run / "report" / "index.html"
    assert "61.25" in text and "sky &amp; &lt;b&gt;" in text and "line 199" in text and "line 100" not in text
    assert "torch" in text and "gpu/count" in text
    assert text.count("data:image/jpeg") == 12 and "2 more in" in text
    assert "data:image/svg+xml" in text
    assert "<script>" not in text
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"", text)
    assert sources and all(source.startswith("data:") for source in sources)
    assert "line 51 is not JSON" in text


def test_other_units_than_percent_are_told(tmp_path):
    run = run_folder(tmp_path)
    units = {"interactive": {"noc@0.5": "clicks", "noc@0.8": "clicks", "nof@0.5": "objects"}, "panoptic": {}}
    figures = {"noc@0.5": 3.5, "noc@0.8": 7.5, "nof@0.5": 2}
    content = {"unit": "percent", "units": units, "interactive": figures, "panoptic": {"PQ": 61.25}}
    (run / "eval" / "scenes" / "metrics.json").write_text(json.dumps(content))
    text = write_report(run).read_text()
    assert "Unit: percent, but for noc@0.5, noc@0.8: clicks; nof@0.5: objects." in text and ">clicks<" not in text


def test_undefined_figures_are_a_dash(tmp_path):
    text = write_report(run_folder(tmp_path)).read_text()
    assert re.search(r"<b>-</b><span>mIoU</span>", text)


def test_figures_per_category_become_one_table(tmp_path):
    run = run_folder(tmp_path)
    kind = {"mIoU": 50.0, "IoU-c": {"sky": 12.5, "cup": 80.0}, "ACC-c": {"sky": 33.25, "cup": None}}
    (run / "eval" / "scenes" / "metrics.json").write_text(json.dumps({"semantic": kind}))
    text = re.sub(r"\s+", " ", write_report(run).read_text())
    assert "<h3>semantic · per class</h3>" in text
    assert "<th>IoU</th><th>ACC</th>" in text
    assert "<td>sky</td><td>12.50</td><td>33.25</td>" in text
    assert "<td>cup</td><td>80.00</td><td>-</td>" in text


def test_clicks_are_drawn_and_metrics_of_one_name_are_told_apart(tmp_path):
    run = run_folder(tmp_path)
    metrics = {
        "semantic": {"mIoU": 50.0},
        "referring": {"mIoU": 61.5, "cIoU": 60.0, "precision@0.5": 70.0},
        "interactive": {"noc@0.85": 3.25, "iou_by_click": {"1": 55.0, "2": 66.0, "3": None}},
    }
    (run / "eval" / "scenes" / "metrics.json").write_text(json.dumps(metrics))
    text = write_report(run).read_text()
    tiles = dict(re.findall(r"<b>([^<]*)</b><span>([^<]*)</span>", text))
    assert tiles == {
        "50.00": "semantic mIoU",
        "61.50": "referring mIoU",
        "3.25": "noc@0.85",
        "60.00": "cIoU",
        "70.00": "precision@0.5",
    }  # fmt: skip
    assert 'alt="Mean IoU by click, percent"' in text
    assert "iou_by_click" not in text
    metrics["interactive"]["iou_by_click"] = {"1": None}
    (run / "eval" / "scenes" / "metrics.json").write_text(json.dumps(metrics))
    assert "Mean IoU by click" not in write_report(run).read_text()


def test_order_of_the_tiles_and_the_charts(tmp_path, monkeypatch):
    run = run_folder(tmp_path)
    metrics = {
        "foreground": dict.fromkeys(("cldice", "boundary_iou", "recall", "precision", "dice", "iou"), 1.0),
        "referring": dict.fromkeys(("precision@0.5", "precision@0.9", "cIoU", "mIoU"), 1.0),
        "interactive": dict.fromkeys(("noc@0.9", "noc@0.85", "noc@0.5"), 1.0),
        "semantic": dict.fromkeys(("pACC", "mIoU", "mACC"), 1.0),
        "instance": {"AP50": 1.0, "AP": 1.0, "bbox": {"AP": 2.0}},
        "panoptic": dict.fromkeys(("PQ_st", "PQ_th", "RQ", "SQ", "PQ"), 1.0),
        "strange": {"PQ": 1.0},
    }
    (run / "eval" / "scenes" / "metrics.json").write_text(json.dumps(metrics))
    names = [f"scenes/{kind}/{name}" for kind, found in metrics.items() for name in found if name != "bbox"]
    names += ["scenes/interactive/noc@0.77", "scenes/interactive/nof@0.85"]
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, **dict.fromkeys(names, 1.0)}))
    drawn = {}
    keep = lambda title, lines, *_, **__: drawn.setdefault(title, list(lines)) and ""  # noqa: E731
    monkeypatch.setattr(report_page, "_chart", keep)
    text = write_report(run).read_text()
    assert re.findall(r"<b>[^<]*</b><span>([^<]*)</span>", text) == [
        "PQ", "SQ", "RQ", "PQ_th", "PQ_st", "referring mIoU", "semantic mIoU", "pACC", "AP", "AP50",
        "noc@0.85", "noc@0.9", "cIoU", "precision@0.5", "iou", "dice", "precision", "recall", "boundary_iou", "cldice",
    ]  # fmt: skip
    assert list(drawn) == ["Evaluation", "Clicks needed"]
    assert drawn["Clicks needed"] == [f"scenes/interactive/noc@{t}" for t in (0.9, 0.85, 0.5, 0.77)]
    assert {name.split("/")[-1] for name in drawn["Evaluation"]} == {"PQ", "mIoU", "AP", "cIoU", "dice", "iou"}


@pytest.mark.parametrize("kept", ["config.yaml", "metrics.jsonl", "eval", "log.txt"])
def test_one_part_is_enough(tmp_path, kept):
    whole = run_folder(tmp_path)
    run = tmp_path / "part"
    run.mkdir()
    (whole / kept).rename(run / kept)
    assert "<html" in write_report(run).read_text()


def test_broken_parts_are_named(tmp_path):
    run = run_folder(tmp_path)
    (run / "environment.json").write_text("{")
    (run / "eval" / "scenes" / "pictures" / "000_img0.png").write_bytes(b"nothing")
    text = write_report(run).read_text()
    assert "environment.json" in text.split("Could not be read")[1]
    assert "000_img0.png" in text.split("Could not be read")[1]


def test_no_run_folder(tmp_path):
    with pytest.raises(UserError, match="there is no run folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(UserError, match="is no run folder"):
        write_report(tmp_path)


def test_figures_that_nest_without_end_are_named_among_the_problems(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n' + '{"a":' * 3000 + "1" + "}" * 3000 + "\n")
    (tmp_path / "environment.json").write_text("[" * 5000)
    page = write_report(tmp_path).read_text()
    assert "line 2 is not JSON" in page and "environment.json: lists and mappings inside each other" in page


def test_lines_whose_step_or_figures_are_no_numbers(tmp_path):
    lines = ['{"step": true, "loss": 1}', '{"step": "7", "loss": 1}', f'{{"step": 3, "loss": 1{"0" * 400}, "lr": 0.5}}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert "3 steps" in report_page.write_report(tmp_path, report_figures()).read_text()
    assert list(report_page._read_lines(tmp_path / "metrics.jsonl", [])) == [{"step": 3, "lr": 0.5}]
