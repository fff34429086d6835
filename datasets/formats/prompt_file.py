"""Files of prompts for ``predict --prompts``: what to segment, per image.

YAML or JSON, a list of objects for every image, or lists by file name::

    images:
      photo.jpg:                       # name of the file, with folders where names repeat
        - {text: the left cup}
        - name: plate                  # for people, optional
          prompts:                     # one object; later entries win where they contradict earlier ones
            - {point: [120, 80]}
            - {point: [40, 30], positive: false}
            - {box: [10, 20, 200, 180]}
            - {scribble: [[15, 40], [60, 44]], width: 5}
            - {polygon: [[5, 5], [50, 5], [5, 40]]}
            - {circle: [90, 70, 12]}

Coordinates are x, y in pixels of the displayed image from its upper left corner. An object has strokes, a text or both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...utils.errors import DataError, did_you_mean
from ...utils.prompts import Box, Circle, Point, Polygon, Prompt, Scribble
from .foreign_names import KnownNames, is_absolute, last_part
from .yaml_file import read_yaml

_NUMBERS = {"point": 2, "box": 4, "circle": 3}
_LINES = ("scribble", "polygon")
_KINDS = (*_NUMBERS, *_LINES)


@dataclass(frozen=True)
class ObjectToSegment:
    """What to segment: strokes, a text, or both.

    Attributes:
        prompts: strokes in pixels of the image.
        text: words for the object, or None.
        name: for people, or an empty string.
    """

    prompts: tuple[Prompt, ...] = ()
    text: str | None = None
    name: str = ""


@dataclass(frozen=True)
class PromptFile:
    """Objects by image.

    Attributes:
        everywhere: objects of every image, or None where the file names images.
        by_name: file name, perhaps with folders before it -> objects.
    """

    everywhere: tuple[ObjectToSegment, ...] | None
    by_name: Mapping[str, tuple[ObjectToSegment, ...]]

    def objects(self, path: Path) -> tuple[ObjectToSegment, ...]:
        """Returns the objects of an image file; none where the file does not name it."""
        if self.everywhere is not None:
            return self.everywhere
        names = ("/".join(path.parts[start:]) for start in range(len(path.parts)))
        return next((self.by_name[name] for name in names if name in self.by_name), ())

    def fitted_to(self, paths: Sequence[Path], source: str | Path) -> PromptFile:
        """Returns the same for these images, with names that other machines wrote replaced by the images' own.

        Raises:
            DataError: no image or several have a name, or several names are one image's; says the nearest.
        """
        known = {"/".join(path.parts[start:]) for path in paths for start in range(len(path.parts))}
        by_name = {name: objects for name, objects in self.by_name.items() if name in known}
        full = {path.absolute().as_posix().lstrip("/"): path for path in paths}
        for name in (name for name in self.by_name if name not in known):
            found = KnownNames(full).only(name, str(source))
            if found is None and is_absolute(name):  # of another machine: its folders say nothing
                same = [key for key in full if key.endswith(f"/{last_part(name)}")]
                found = same[0] if len(same) == 1 else None
            if found is None:
                raise DataError(f"{source}: no input is named {name!r}{did_you_mean(name, known)}")
            own = "/".join(full[found].parts)
            if own in by_name:
                raise DataError(f"{source}: {name!r} and another name mean {own}")
            by_name[own] = self.by_name[name]
        return replace(self, by_name=by_name)


def read_prompt_file(path: str | Path) -> PromptFile:
    """Reads a file of prompts.

    Raises:
        DataError: it is missing, no YAML or JSON, or not of this form; names the place.
    """
    content = read_yaml(path)
    if isinstance(content, list):
        return PromptFile(parse_objects(content, str(path)), {})
    if not isinstance(content, dict) or set(content) != {"images"} or not isinstance(content["images"], dict):
        raise DataError(f"{path}: expected a list of objects, or 'images:' with a list for each file name")
    by_name = {str(n).replace("\\", "/"): parse_objects(o, f"{path}: {n}") for n, o in content["images"].items()}
    return PromptFile(None, by_name)


def parse_objects(value: Any, where: str) -> tuple[ObjectToSegment, ...]:
    """Reads a list of objects; ``where`` begins error messages (DataError)."""
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list of objects, found {_shown(value)}")
    return tuple(_object(entry, f"{where}: object {number}") for number, entry in enumerate(value, start=1))


def _object(value: Any, where: str) -> ObjectToSegment:
    known = ("prompts", "text", "name")
    _check_keys(value, known, where)
    for key in ("text", "name"):
        if key in value and not (isinstance(value[key], str) and value[key].strip()):
            raise DataError(f"{where}: {key} must be words, found {_shown(value[key])}")
    prompts = parse_prompts(value.get("prompts", []), where)
    if not prompts and "text" not in value:
        raise DataError(f"{where}: needs prompts, a text, or both")
    return ObjectToSegment(prompts, value.get("text"), value.get("name", ""))


def parse_prompts(value: Any, where: str) -> tuple[Prompt, ...]:
    """Reads the strokes of one object; ``where`` begins error messages (DataError)."""
    if not isinstance(value, list):
        raise DataError(f"{where}: prompts must be a list such as [{{point: [120, 80]}}], found {_shown(value)}")
    return tuple(_prompt(entry, f"{where}, prompt {number}") for number, entry in enumerate(value, start=1))


def _prompt(value: Any, where: str) -> Prompt:
    _check_keys(value, (*_KINDS, "positive", "width"), where)
    kinds = [kind for kind in _KINDS if kind in value]
    if len(kinds) != 1:
        raise DataError(f"{where}: expected exactly one of {', '.join(_KINDS)}, found {_shown(value)}")
    (kind,) = kinds
    positive = value.get("positive", True)
    if not isinstance(positive, bool):
        raise DataError(f"{where}: positive must be true or false, found {_shown(positive)}")
    if "width" in value and (kind != "scribble" or not _is_number(value["width"])):
        raise DataError(f"{where}: width is the breadth in pixels of a scribble, found {_shown(value)}")
    if kind in _NUMBERS:
        numbers = _numbers(value[kind], _NUMBERS[kind], f"{where}: {kind}")
        return {"point": Point, "box": Box, "circle": Circle}[kind](*numbers, positive)
    if not isinstance(value[kind], list):
        raise DataError(f"{where}: {kind} must be a list of [x, y], found {_shown(value[kind])}")
    points = tuple((x, y) for x, y in (_numbers(point, 2, f"{where}: {kind}") for point in value[kind]))
    if kind == "polygon":
        return Polygon(points, positive)
    return Scribble(points, positive, float(value.get("width", Scribble.width)))


def prompts_as_entries(prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Returns strokes as files hold them: the reverse of :func:`parse_prompts`."""
    entries = []
    for prompt in prompts:
        if isinstance(prompt, Point):
            entry: dict[str, Any] = {"point": [prompt.x, prompt.y]}
        elif isinstance(prompt, Box):
            entry = {"box": [prompt.x0, prompt.y0, prompt.x1, prompt.y1]}
        elif isinstance(prompt, Circle):
            entry = {"circle": [prompt.x, prompt.y, prompt.radius]}
        elif isinstance(prompt, Polygon):
            entry = {"polygon": [list(point) for point in prompt.points]}
        else:
            entry = {"scribble": [list(point) for point in prompt.points], "width": prompt.width}
        entries.append(entry if prompt.positive else {**entry, "positive": False})
    return entries


def _check_keys(value: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a mapping with some of {', '.join(known)}, found {_shown(value)}")
    for key in value:
        if key not in known:
            raise DataError(f"{where}: unknown entry {key!r}{did_you_mean(str(key), known)}; known: {', '.join(known)}")


def _numbers(value: Any, count: int, where: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
        raise DataError(f"{where} must be {count} numbers, found {_shown(value)}")
    return [float(number) for number in value]


def _is_number(value: Any) -> bool:
    # A float beyond 1e300 would be an overflow in what follows; no image has such a pixel.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > 1e300


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
