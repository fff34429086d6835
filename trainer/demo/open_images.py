"""The images that are open in the browsers' tabs: each with its own objects, as many as memory is meant for."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np

from ...datasets.formats.prompt_file import ObjectToSegment, parse_prompts, prompts_as_entries
from ...datasets.tasks.base import ResultTask
from ...datasets.tasks.registry import all_result_tasks
from ...datasets.writers.prompted_objects import ObjectDocument
from ...modeling.promptable import prompt_kinds
from ...utils.errors import UserError
from ...utils.image_io import encode_png
from ...utils.masks import decode_masks
from ...utils.palette import distinct_color
from ..prediction.interactive_session import InteractiveSession
from ..prediction.predictor import Predictor
from ..prediction.result_memory import check_mask_memory
from ..weights.load_model import parse_classes

MAX_OBJECTS = 1000
MAX_TEXT = 1000  # characters
_JPEG_QUALITY = 92


class NoImageError(UserError):
    """No such image is open (any more)."""


@dataclass
class OpenImage:
    """One image in one tab.

    Attributes:
        name: file name in the user's browser.
        image: (H, W, 3) uint8 RGB.
        session: its prompted objects; None: the network takes no prompts.
        segments: what the network finds unasked, as the page shows it; empty until asked for.
        used: time.monotonic() of the last request.
    """

    name: str
    image: np.ndarray
    session: InteractiveSession | None
    segments: list[dict[str, Any]] = field(default_factory=list)
    used: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    def prompted(self) -> InteractiveSession:
        """Returns the session.

        Raises:
            UserError: the network takes no prompts.
        """
        if self.session is None:
            raise UserError("this network takes no prompts")
        return self.session

    def act(self, request: dict[str, Any]) -> dict[str, Any]:
        """Does what the page asks; returns the objects after it.

        Args:
            request: ``action``: prompt (with ``prompts``, as files of prompts hold them), text (``text``), new, select
                (``object``, from 0), remove (``object``), undo or reset.

        Raises:
            UserError: the request is wrong or does not fit the image or the network.
        """
        session = self.prompted()
        actions: dict[str, Callable[[], Any]] = {
            "prompt": lambda: session.add(*parse_prompts(request.get("prompts"), "prompts")),
            "text": lambda: session.text(_short(request.get("text"))),
            "new": session.new_object,
            "select": lambda: session.select(_whole(request.get("object"))),
            "remove": lambda: session.remove(_whole(request.get("object"))),
            "undo": session.undo,
            "reset": session.reset,
        }
        action = request.get("action")
        if not isinstance(action, str) or action not in actions:
            raise UserError(f"unknown action; expected one of {', '.join(actions)}")
        if action in ("prompt", "text") and session.current >= MAX_OBJECTS:
            raise UserError(f"{MAX_OBJECTS} objects are the most of one image here")
        actions[action]()
        return self.state()

    def state(self) -> dict[str, Any]:
        """Returns the objects as the page shows them."""
        if self.session is None:
            return {"objects": [], "current": 0}
        objects = [
            {
                "text": found.text,
                "prompts": prompts_as_entries(found.prompts),
                "mask": found.rle,
                "score": found.score,
                "color": distinct_color(number),
            }
            for number, found in enumerate(self.session.objects)
        ]
        return {"objects": objects, "current": self.session.current}

    def find_everything(self, predictor: Predictor, names: str) -> list[dict[str, Any]]:
        """Returns what the network finds unasked, one entry per segment.

        Args:
            predictor: the network.
            names: vocabulary as ``--classes`` takes it; empty: the network's own.
        """
        task = unasked_task(predictor)
        if task is None:
            raise UserError("this network answers prompts only")
        names = _short(names)
        if names and not task.by_category:
            raise UserError("this network knows no categories; leave the field empty")
        categories = parse_classes(names, "categories") if names else predictor.categories
        if self.session is not None and not task.needs_original:
            prediction = self.session.predict((task.name,), categories)
        elif names:
            raise UserError("this network finds its own categories only")
        else:
            prediction = predictor([self.image], (task.name,))[0]
        self.segments = [asdict(region) for region in task.regions(task.result(prediction), categories)]
        return self.segments

    def picture(self) -> bytes:
        """Returns the image as a JPEG file, as the network sees it: turned upright, 8-bit RGB."""
        return cv2.imencode(".jpg", self.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()

    def mask_png(self, number: int | None) -> bytes:
        """Returns masks as a PNG file.

        Args:
            number: object from 0: 255 inside, 0 outside; None: all objects, pixel = number from 1 (16 bit), 0 = none.
        """
        objects = self.prompted().objects
        if number is not None:
            if not 0 <= number < len(objects):
                raise UserError(f"object {number}: there are {len(objects)}, counted from 0")
            return encode_png(decode_masks([objects[number].rle], self.size)[0] * np.uint8(255))
        labels = np.zeros(self.size, np.uint16)
        for place, found in enumerate(objects, start=1):
            labels[decode_masks([found.rle], self.size)[0]] = place
        return encode_png(labels)

    def result(self) -> dict[str, Any]:
        """Returns everything found so far, objects as ``predict`` writes them into prompted.json."""
        document = ObjectDocument()
        document.add_image(1, self.name, self.size)
        for number, found in enumerate(self.session.objects if self.session else (), start=1):
            document.add_object(number, ObjectToSegment(found.prompts, found.text), found.rle, found.score)
        return document.as_json() | {"segments": self.segments}


class OpenImages:
    """At most ``most`` open images; the one not used for longest gives way to a new one.

    Args:
        predictor: the network.
        most: images.
        idle_seconds: an image unused for longer is closed when the next one is opened.
        clock: seconds, any origin.
    """

    def __init__(
        self, predictor: Predictor, most: int, idle_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.predictor = predictor
        self.most = most
        self.idle_seconds = idle_seconds
        self._clock = clock
        self._images: OrderedDict[str, OpenImage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._images)

    def open(self, name: str, image: np.ndarray) -> tuple[str, OpenImage]:
        """Opens an image and computes its features; returns its key, which cannot be guessed, and the image."""
        check_mask_memory(self.predictor.cfg, (image.shape[0], image.shape[1]), 1)
        now = self._clock()
        for key in [k for k, o in self._images.items() if now - o.used > self.idle_seconds]:
            del self._images[key]
        while len(self._images) >= self.most:
            self._images.popitem(last=False)
        session = InteractiveSession(self.predictor, image) if prompt_kinds(self.predictor.model) else None
        key = secrets.token_urlsafe(24)
        self._images[key] = opened = OpenImage(name, image, session, used=now)
        return key, opened

    def get(self, key: str) -> OpenImage:
        """Returns an open image.

        Raises:
            NoImageError: there is none of this key.
        """
        opened = self._images.get(key)
        if opened is None:
            raise NoImageError("this image is not open any more (others were opened since); load it again")
        self._images.move_to_end(key)
        opened.used = self._clock()
        return opened

    def close(self, key: str) -> None:
        """Forgets an image."""
        self._images.pop(key, None)


def unasked_task(predictor: Predictor) -> ResultTask | None:
    """Returns what the page shows of what a network finds without prompts: its first task; None: it finds nothing."""
    found = predictor.result_tasks() or predictor.model.result_kinds
    return next((task for task in all_result_tasks() if task.name in found), None)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError("object must be a whole number, counted from 0")
    return value


def _short(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise UserError(f"expected a text of at most {MAX_TEXT} characters")
    return value
