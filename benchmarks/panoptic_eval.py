"""CPU seconds of panoptic evaluation on synthetic files, against panopticapi.

    python benchmarks/panoptic_eval.py --reference DIR_WITH_PANOPTICAPI --images 500

Every figure is the median over fresh processes, one thread, of the CPU time from the JSON files to the result (imports
left out). ``hotcoco`` and ``panopticapi`` believe the areas of the ground-truth JSON; ``own`` counts them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [p for p in sys.path if Path(p or os.curdir).resolve() not in (_ROOT, _ROOT / "benchmarks")]
sys.path.insert(0, str(_ROOT / "src"))

HEIGHT, WIDTH, SHAPES, CATEGORIES = 480, 640, 13, 20


def make_files(folder: Path, count: int, compress: int = 6, seed: int = 0) -> None:
    """Writes ground truth (15 segments an image, VOID, one crowd) and predictions with moved and renamed segments."""
    import numpy as np

    from segfoundry.datasets.formats.panoptic import write_panoptic_png

    rng = np.random.default_rng(seed)
    things = [{"id": i + 1, "name": f"c{i}", "isthing": int(i < 12), "color": [i, i, i]} for i in range(CATEGORIES)]
    documents: dict[str, dict[str, Any]] = {
        "gt": {"images": [], "annotations": [], "categories": things},
        "pred": {"annotations": []},
    }
    for image in range(count):
        documents["gt"]["images"].append(
            {"id": image, "file_name": f"{image:06d}.jpg", "height": HEIGHT, "width": WIDTH}
        )
        shapes = [
            (*rng.uniform(0, (WIDTH, HEIGHT)), *rng.uniform(20, 120, 2), rng.uniform(0, 180)) for _ in range(SHAPES)
        ]
        categories = [13, 14, *rng.integers(1, 13, SHAPES).tolist()]
        for side, document in documents.items():
            ids = np.concatenate([[0], rng.choice(2**24 - 1, SHAPES + 2, replace=False) + 1]).astype(np.int32)
            jitter = rng.normal(0, 6, (SHAPES, 2)) if side == "pred" else np.zeros((SHAPES, 2))
            numbers = _paint(shapes, jitter, void=side == "gt")
            write_panoptic_png(folder / side / f"{image:06d}.png", ids[numbers], compress)
            areas = np.bincount(numbers.ravel(), minlength=SHAPES + 3)
            renamed = rng.random(SHAPES + 2) < 0.1 if side == "pred" else np.zeros(SHAPES + 2, bool)
            segments = [
                {
                    "id": int(ids[n]),
                    "category_id": int(20 if renamed[n - 1] else categories[n - 1]),
                    "area": int(areas[n]),
                    "iscrowd": int(side == "gt" and n == 5),
                }
                for n in range(1, SHAPES + 3)
                if areas[n]
            ]
            entry = {"image_id": image, "file_name": f"{image:06d}.png", "segments_info": segments}
            document["annotations"].append(entry)
    for side, document in documents.items():
        (folder / f"{side}.json").write_text(json.dumps(document))


def _paint(shapes: list[tuple[float, ...]], jitter: Any, void: bool) -> Any:
    import cv2
    import numpy as np

    numbers = np.ones((HEIGHT, WIDTH), np.int32)
    numbers[HEIGHT // 2 :] = 2
    for number, ((x, y, a, b, angle), (dx, dy)) in enumerate(zip(shapes, jitter, strict=True), 3):
        cv2.ellipse(numbers, (int(x + dx), int(y + dy)), (int(a), int(b)), angle, 0, 360, number, -1)
    if void:
        numbers[:20] = 0
    return numbers


def run_one(name: str, folder: Path, reference: str | None) -> tuple[float, dict[str, Any]]:
    """Scores the files once; returns CPU seconds and the result."""
    gt, pred = folder / "gt.json", folder / "pred.json"
    if name == "panopticapi":
        sys.path.insert(0, str(reference))
        from panopticapi.evaluation import pq_compute_single_core

        start = time.process_time()
        document = json.loads(gt.read_text())
        categories = {c["id"]: c for c in document["categories"]}
        predicted = {a["image_id"]: a for a in json.loads(pred.read_text())["annotations"]}
        pairs = [(a, predicted[a["image_id"]]) for a in document["annotations"]]
        with contextlib.redirect_stdout(io.StringIO()):
            stat = pq_compute_single_core(0, pairs, str(folder / "gt"), str(folder / "pred"), categories)
        average, _ = stat.pq_average(categories, isthing=None)
        return time.process_time() - start, {k: average[k] for k in ("pq", "sq", "rq", "n")}
    import cv2

    from segfoundry.datasets.metrics.panoptic_quality import PanopticProtocol
    from segfoundry.datasets.score.score_panoptic import PanopticFiles, score_panoptic
    from segfoundry.utils.allocator import keep_freed_memory
    from segfoundry.utils.masks import hotcoco

    cv2.setNumThreads(1)
    hotcoco()  # import it before the clock starts
    keep_freed_memory()  # as the verb score does
    start = time.process_time()
    protocol = PanopticProtocol(reference_area=name == "hotcoco")
    result = score_panoptic(
        PanopticFiles.at(gt), PanopticFiles.at(pred), protocol=protocol, accelerate=name == "hotcoco"
    )
    seconds = time.process_time() - start
    if result["protocol"]["engine"] != name:
        raise SystemExit(f"{name}: scored by {result['protocol']['engine']} instead; is hotcoco installed?")
    return seconds, result["All"]


def main() -> None:
    """Generates the files and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--compress", type=int, default=6, help="zlib level of the PNGs (published data: 6)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--reference", metavar="DIR", help="folder that holds the package panopticapi")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        seconds, result = run_one(args.one[0], Path(args.one[1]), args.reference)
        print(json.dumps({"seconds": seconds, "result": result}))
        return
    names = ["own", "hotcoco"] + (["panopticapi"] if args.reference else [])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), args.images, args.compress)
        times: dict[str, list[float]] = {name: [] for name in names}
        results = {}
        for _ in range(args.repeat):
            for name in names:
                command = [sys.executable, __file__, "--one", name, folder]
                command += ["--reference", args.reference] if args.reference else []
                done = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
                times[name].append(done["seconds"])
                results[name] = done["result"]
    medians = {name: statistics.median(t) for name, t in times.items()}
    base = medians.get("panopticapi")
    print(f"{args.images} images {WIDTH} x {HEIGHT}, PNG level {args.compress}, CPU seconds, median of {args.repeat}")
    for name in names:
        ratio = "" if base is None else f"   {medians[name] / base:.3f} of panopticapi"
        print(f"{name:<12}{medians[name]:8.2f} s{ratio}   PQ {results[name]['pq']:.15f} n {results[name]['n']}")


if __name__ == "__main__":
    main()
