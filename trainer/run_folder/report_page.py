"""One HTML page about a run folder. It needs no network and no other file: pictures and curves are inside.

Every part is optional: what a run folder does not hold (yet) is left out, what cannot be read is named at the end.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...datasets.tasks.figures import Curve, Figures
from ...datasets.tasks.registry import report_figures
from ...utils.errors import UserError
from ...utils.files import atomic_write_text
from ...utils.json_text import parse_json
from ...utils.logging import get_logger
from ...utils.paths import nearest_path

_log = get_logger(__name__)

MAX_PICTURES = 12
MAX_PICTURE_WIDTH = 1400
LOG_LINES = 60
_NOT_FIGURES = ("protocol", "metric_version", "units")  # entries of metrics.json about how it was measured
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}


def write_report(run_folder: str | Path, kinds: Mapping[str, Figures]) -> Path:
    """Writes ``report/index.html`` into a run folder, replacing an older one.

    Args:
        run_folder: folder with any of config.yaml, environment.json, log.txt, metrics.jsonl, eval/DATASET/metrics.json,
            eval/DATASET/pictures/, predictions/overlay/.
        kinds: what is shown of each kind of evaluation, in the order of the page. Figures of other kinds stand in the
            table of all figures.

    Returns:
        Path of the page.

    Raises:
        UserError: if the folder does not exist or holds nothing to report.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise UserError(f"there is no run folder {folder}{nearest_path(folder)}")
    problems: list[str] = []
    history = list(_read_lines(folder / "metrics.jsonl", problems))
    evaluations = [_evaluation(f, kinds, problems) for f in sorted((folder / "eval").glob("*")) if f.is_dir()]
    config, log = _read_text(folder / "config.yaml"), _read_text(folder / "log.txt")
    if not (history or evaluations or config or log):
        raise UserError(
            f"{folder} is no run folder: it holds none of config.yaml, log.txt, metrics.jsonl and eval/. "
            "Give the folder that training wrote (SAVE_DIR/EXP_NAME)."
        )
    context = {
        "name": folder.resolve().name,
        "folder": str(folder),
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "progress": _progress(history),
        "evaluations": evaluations,
        "charts": _charts(history, kinds),
        "predictions": _pictures(folder / "predictions" / "overlay", problems)[0],
        "config": config,
        "environment": list(_flatten(_read_json(folder / "environment.json", problems))),
        "log": "\n".join(log.splitlines()[-LOG_LINES:]),
        "log_lines": LOG_LINES,
        "problems": problems,
    }
    target = folder / "report" / "index.html"
    atomic_write_text(target, _render(context))
    return target


def refresh_report(folder: Path) -> None:
    """Writes the report of a run folder; a report that cannot be written is a warning, never the end of a run."""
    try:
        _log.info("report: %s", write_report(folder, report_figures()))
    except (UserError, OSError, ValueError, ImportError) as error:
        _log.warning("no report was written: %s (entry.py report --run %s tries again)", error, folder)


def _render(context: Mapping[str, Any]) -> str:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(context)


# ---- reading ---------------------------------------------------------------------------------------------------------


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_json(path: Path, problems: list[str]) -> Any:
    """Returns the content of a JSON file, or an empty mapping when it is missing or broken."""
    if not path.is_file():
        return {}
    try:
        return parse_json(_read_text(path))
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return {}


def _read_lines(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the flattened numbers of each line of a JSON-lines file that has a step; a torn last line is usual."""
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        try:
            entry = parse_json(line)
        except ValueError:
            problems.append(f"{path}: line {number} is not JSON")
            continue
        figures = {k: v for k, v in _flatten(entry) if _is_figure(v)}
        if isinstance(figures.get("step"), int):
            yield figures


def _is_figure(value: Any) -> bool:
    """Whether a value is a number that can be drawn; whole numbers of JSON may be larger."""
    return isinstance(value, float) or type(value) is int and abs(value) <= sys.float_info.max


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path joined by "/", leaf) of nested mappings; lists are leaves, written as text."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(inner, f"{prefix}/{name}" if prefix else str(name))
    elif prefix:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else value


# ---- evaluation ------------------------------------------------------------------------------------------------------


def _evaluation(folder: Path, kinds: Mapping[str, Figures], problems: list[str]) -> dict[str, Any]:
    metrics = _read_json(folder / "metrics.json", problems)
    metrics = metrics if isinstance(metrics, Mapping) else {}
    tables: list[dict[str, Any]] = []
    scalars: dict[str, float | None] = {}
    curves = list(dict.fromkeys(curve for figures in kinds.values() for curve in figures.curves))
    _collect(metrics, "", {curve.entry for curve in curves}, scalars, tables)
    colors = [figures.error_colors for kind, figures in kinds.items() if kind in metrics and figures.error_colors]
    pictures, more = _pictures(folder / "pictures", problems)
    return {
        "name": folder.name,
        "folder": str(folder),
        "headline": _headline(scalars, kinds),
        "charts": [chart for curve in curves if (chart := _curve_chart(curve, metrics))],
        "unit": _units(metrics),
        "tables": tables,
        "figures": [(k.replace("/", " · "), _text(v)) for k, v in scalars.items()],
        "pictures": pictures,
        "more_pictures": more,
        "error_colors": list(colors[0].items()) if colors else [],
    }


def _units(metrics: Mapping[str, Any]) -> str:
    """Returns the unit of most figures, and which figures have another."""
    if not isinstance(metrics.get("unit"), str):
        return ""
    others: dict[str, dict[str, None]] = {}
    for unit, name in ((unit, name) for kind in _mappings(metrics.get("units")) for name, unit in kind.items()):
        others.setdefault(str(unit), {})[name] = None
    listed = "; ".join(f"{', '.join(names)}: {unit}" for unit, names in others.items())
    return f"Unit: {metrics['unit']}{f', but for {listed}' if listed else ''}."


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [inner for inner in value.values() if isinstance(inner, Mapping)] if isinstance(value, Mapping) else []


def _headline(scalars: Mapping[str, float | None], kinds: Mapping[str, Figures]) -> list[tuple[str, str]]:
    """Returns the tiles; where two kinds have a metric of one name, the tile says which kind it is."""
    ranks: dict[str, int] = {}
    for figures in kinds.values():
        for metric, rank in figures.headline.items():
            ranks[metric] = min(rank, ranks.get(metric, rank))
    # "KIND/METRIC"; deeper ones (bbox inside instance, say) are in the table of all figures only
    names = [tuple(path.split("/")) for path in scalars if path.count("/") == 1]
    tiles = []
    for metric in sorted(ranks, key=ranks.__getitem__):
        showing = [kind for kind, name in names if name == metric and kind in kinds and name in kinds[kind].headline]
        for kind in showing:
            label = metric if len(showing) == 1 else f"{kind} {metric}"
            tiles.append((label, _text(scalars[f"{kind}/{metric}"])))
    return tiles


def _curve_chart(curve: Curve, metrics: Mapping[str, Any]) -> dict[str, str] | None:
    """Draws a curve, one line per kind that has values of it; None without any."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for kind, scores in metrics.items():
        values = scores.get(curve.entry) if isinstance(scores, Mapping) else None
        if isinstance(values, Mapping):
            line = [(float(x), value) for x, value in values.items() if isinstance(value, (int, float))]
            lines |= {kind: line} if line else {}
    if not lines:
        return None
    return {"title": curve.title, "uri": _chart(curve.title, lines, logarithmic=False, xlabel=curve.xlabel)}


def _collect(
    value: Mapping[str, Any],
    path: str,
    left_out: Collection[str],
    scalars: dict[str, float | None],
    tables: list[dict[str, Any]],
) -> None:
    """Sorts nested metrics into single figures and tables.

    A table is a mapping from category names to mappings of figures ("per_class"), or all the mappings "METRIC-c" from
    category names to a figure that stand side by side. Entries named in ``left_out`` are drawn instead.
    """
    columns = {name: inner for name, inner in value.items() if name.endswith("-c") and isinstance(inner, Mapping)}
    if columns:
        names = dict.fromkeys(category for column in columns.values() for category in column)
        rows = {c: {name.removesuffix("-c"): column.get(c) for name, column in columns.items()} for c in names}
        tables.append(_table(f"{path}/per_class", rows))
    for name, inner in value.items():
        here = f"{path}/{name}" if path else str(name)
        if name in (*_NOT_FIGURES, *left_out, *columns):
            continue
        if isinstance(inner, Mapping):
            if inner and all(_is_row(row) for row in inner.values()):
                tables.append(_table(here, inner))
            else:
                _collect(inner, here, left_out, scalars, tables)
        elif inner is None or (isinstance(inner, (int, float)) and not isinstance(inner, bool)):
            scalars[here] = inner


def _is_row(value: Any) -> bool:
    return (
        isinstance(value, Mapping) and bool(value) and not any(isinstance(v, (Mapping, list)) for v in value.values())
    )


def _table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    body = [[name, *(_text(row.get(column)) for column in columns)] for name, row in rows.items()]
    return {"title": title.replace("/", " · ").replace("_", " "), "columns": ["", *columns], "rows": body}


def _text(value: Any) -> str:
    """Returns a figure for people; "-" where there is none."""
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2e}"
    return str(value)


def _pictures(folder: Path, problems: list[str]) -> tuple[list[dict[str, str]], int]:
    """Returns the first pictures of a folder as data addresses, and how many more there are."""
    import cv2

    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _PICTURE_SUFFIXES) if folder.is_dir() else []
    pictures = []
    for file in files[:MAX_PICTURES]:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None:
            problems.append(f"{file}: not a readable picture")
            continue
        if picture.shape[1] > MAX_PICTURE_WIDTH:
            height = max(1, round(picture.shape[0] * MAX_PICTURE_WIDTH / picture.shape[1]))
            picture = cv2.resize(picture, (MAX_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 86])[1].tobytes()
        pictures.append({"name": file.stem, "uri": _data_uri("image/jpeg", data)})
    return pictures, max(0, len(files) - MAX_PICTURES)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


# ---- curves ----------------------------------------------------------------------------------------------------------


def _progress(history: list[dict[str, Any]]) -> str:
    return f"{max(int(entry['step']) for entry in history)} steps" if history else ""


def _charts(history: list[dict[str, Any]], kinds: Mapping[str, Figures]) -> list[dict[str, str]]:
    """Draws the curves that the history has figures for: objective, its terms, evaluation, learning rate, speed."""
    series: dict[str, list[tuple[float, float]]] = {}
    for entry in history:
        for name, value in entry.items():
            if name != "step":
                series.setdefault(name, []).append((entry["step"], value))
    leaf = {name: name.rsplit("/", 1)[-1] for name in series}
    measured: dict[str, set[str]] = {}
    for figures in kinds.values():
        for title, patterns in figures.progress.items():
            measured.setdefault(title, set()).update(patterns)
    total = [n for n in series if leaf[n] in ("loss", "total_loss", "loss_total")]
    # Terms of deeper layers repeat the first one's course (suffix _0 is the final output).
    terms = [n for n in series if "loss" in leaf[n] and n not in total and not re.search(r"_[1-9]\d*$", leaf[n])]
    groups = [
        ("Objective", total, True),
        ("Loss terms of the final output", terms[:8], True),
        *(
            (title, [n for n in series if any(fnmatchcase(leaf[n], pattern) for pattern in patterns)][:8], False)
            for title, patterns in measured.items()
        ),
        ("Learning rate", [n for n in series if leaf[n] == "lr" or leaf[n].startswith("lr_")][:4], False),
        ("Images per second", [n for n in series if leaf[n] in ("images_per_second", "img_per_s", "img/s")], False),
    ]
    return [
        {"title": title, "uri": _chart(title, {n: series[n] for n in names}, logarithmic)}
        for title, names, logarithmic in groups
        if names
    ]


def _chart(
    title: str, lines: Mapping[str, list[tuple[float, float]]], logarithmic: bool, xlabel: str = "optimizer step"
) -> str:
    """Returns a line chart as the data address of an SVG."""
    from io import StringIO

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.1), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    finite = [y for points in lines.values() for _, y in points if y == y and abs(y) != float("inf")]
    for name, points in lines.items():
        thin = max(1, len(points) // 2000)
        xs, ys = zip(*points[::thin], strict=True)
        axes.plot(
            xs, ys, label=re.sub(r"^(metrics|losses)/", "", name), linewidth=1.3, marker="." if len(xs) < 30 else None
        )
    if logarithmic and finite and min(finite) > 0:
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if len(lines) > 1 or title == "Evaluation":
        axes.legend(fontsize=7)
    text = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return _data_uri("image/svg+xml", text.getvalue().encode())
