"""Interactive segmentation of one image: clicks and other prompts for any number of objects, with undo.

Letters in shapes: H and W rows and columns of the image, h and w those of the mask logits, N objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ...utils.errors import UserError
from ...utils.innermost_pixel import innermost_pixel
from ...utils.masks import Rle, decode_masks, encode_masks
from ...utils.prompts import Box, Circle, Point, Polygon, Prompt, PromptError, Scribble, check_prompt
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from .encoded_image import Answer, EncodedImage
from .loaded_network import LoadedNetwork
from .result_memory import check_mask_memory

UNDO_STEPS = 500


@dataclass(frozen=True)
class PromptedObject:
    """One object of a session.

    Attributes:
        prompts: what was drawn, in order.
        text: words for it, or None.
        rle: the mask of the network's last answer, at the size of the image.
        score: its confidence 0..1.
        logits: (h, w) its mask logits, the memory of the next round.
    """

    prompts: tuple[Prompt, ...]
    text: str | None
    rle: Rle
    score: float
    logits: Tensor


def _prompted(prompts: tuple[Prompt, ...], text: str | None, answer: Answer) -> PromptedObject:
    """Returns an object as a session keeps it: its mask as a run-length code, so that undo costs little memory."""
    return PromptedObject(prompts, text, encode_masks(answer.mask[None])[0], answer.score, answer.logits)


@dataclass(frozen=True)
class _State:
    """Objects, and the place of the one that prompts go to; one past the last: the next prompt begins a new one."""

    objects: tuple[PromptedObject, ...] = ()
    current: int = 0


class InteractiveSession:
    """Objects of one image, each given by strokes, a text or both, corrected round by round.

    The features of the image are computed once, when the session starts. Each prompt is one round of its object: the
    network sees all prompts of the object so far and its own last mask (its memory); the other objects keep their
    masks. An action that raises an error changes nothing.

    Args:
        predictor: the network.
        image: (H, W, 3) uint8 RGB.

    Attributes:
        image: the image.
        size: (H, W).

    Raises:
        UserError: the network takes no prompts.
    """

    def __init__(self, predictor: LoadedNetwork, image: np.ndarray) -> None:
        self.image = image
        self.size = (image.shape[0], image.shape[1])
        self._encoded = EncodedImage(predictor, image)
        self._state = _State()
        self._earlier: deque[_State] = deque(maxlen=UNDO_STEPS)

    def click(self, x: float, y: float, positive: bool = True) -> np.ndarray:
        """Clicks on the current object (positive) or on what does not belong to it.

        Args:
            x: pixels from the left border of the image.
            y: pixels from its upper border.
            positive: whether the pixel belongs to the object.

        Returns:
            (H, W) bool, the object's mask now.

        Raises:
            UserError: the point is outside the image, or the object's first prompt is negative.
        """
        return self.add(Point(x, y, positive))

    def box(self, x0: float, y0: float, x1: float, y1: float, positive: bool = True) -> np.ndarray:
        """Draws a box, corners as :class:`~segfoundry.utils.prompts.Box`; returns the mask (H, W) bool."""
        return self.add(Box(x0, y0, x1, y1, positive))

    def scribble(self, points: Sequence[tuple[float, float]], positive: bool = True, width: float = 5.0) -> np.ndarray:
        """Draws a line through points (x, y), ``width`` pixels broad; returns the mask (H, W) bool."""
        return self.add(Scribble(tuple(points), positive, width))

    def polygon(self, points: Sequence[tuple[float, float]], positive: bool = True) -> np.ndarray:
        """Draws a filled polygon with corners (x, y); returns the mask (H, W) bool."""
        return self.add(Polygon(tuple(points), positive))

    def circle(self, x: float, y: float, radius: float, positive: bool = True) -> np.ndarray:
        """Draws a disc; returns the mask (H, W) bool."""
        return self.add(Circle(x, y, radius, positive))

    def text(self, text: str) -> np.ndarray:
        """Says in words what the current object is; later words replace earlier ones.

        An object that has strokes is looked for with both. Without strokes the text alone names it, and clicks after
        it correct that mask.

        Returns:
            (H, W) bool, the object's mask now.

        Raises:
            UserError: the text is empty, or the network takes no texts.
        """
        return self.add(text=text)

    def add(self, *prompts: Prompt, text: str | None = None) -> np.ndarray:
        """Adds strokes, a text or both to the current object, in one round.

        Args:
            *prompts: strokes, in pixels of the image.
            text: as :meth:`text`; None: the earlier text stays.

        Returns:
            (H, W) bool, the object's mask now.

        Raises:
            UserError: as :meth:`click` and :meth:`text`; or nothing was given.
        """
        if not prompts and text is None:
            raise PromptError("no prompt was given; expected strokes or a text")
        if prompts:
            self._encoded.require("stroke")
        for prompt in prompts:
            check_prompt(prompt, self.size)
        found = self._object()
        everything = (*(found.prompts if found else ()), *prompts)
        if text is None and found:
            text = found.text
        # A new text without strokes asks afresh: nothing of the old answer is meant to stay.
        previous = found.logits if found and everything else None
        answer = self._encoded.answer(self._with_anchor(found, everything), text, previous)
        objects = list(self.objects)
        objects[self.current : self.current + 1] = [_prompted(everything, text, answer)]
        self._change(replace(self._state, objects=tuple(objects)))
        return answer.mask

    def example(self, *prompts: Prompt) -> Any:
        """Shows an object by strokes, to look for it in other images; changes nothing here.

        Returns:
            What :meth:`like` of another session (of the same predictor) takes.

        Raises:
            UserError: as :meth:`click`; or the network takes no examples (SEEM's demo variant does).
        """
        return self._encoded.example(prompts)

    def like(self, example: Any) -> np.ndarray:
        """Finds what looks like an example of another image, as a new object; returns its mask (H, W) bool."""
        answer = self._encoded.like(example)
        objects = (*self.objects, _prompted((), None, answer))
        self._change(_State(objects, len(objects) - 1))
        return answer.mask

    def new_object(self) -> None:
        """Lets the next prompt begin a new object."""
        self._change(replace(self._state, current=len(self._state.objects)))

    def select(self, index: int) -> None:
        """Lets the next prompts correct an earlier object.

        Raises:
            UserError: there is no object of that number, counted from 0.
        """
        self._check_index(index)
        self._change(replace(self._state, current=index))

    def remove(self, index: int) -> None:
        """Drops an object; the next prompt begins a new one. Errors as :meth:`select`."""
        self._check_index(index)
        left = tuple(o for i, o in enumerate(self._state.objects) if i != index)
        self._change(_State(left, len(left)))

    def undo(self) -> bool:
        """Restores exactly what was before the last action (at most 500 in a row); False: there was none."""
        if not self._earlier:
            return False
        self._state = self._earlier.pop()
        return True

    def reset(self) -> None:
        """Drops all objects; :meth:`undo` brings them back."""
        self._change(_State())

    @property
    def objects(self) -> tuple[PromptedObject, ...]:
        """The N objects with their prompts and answers."""
        return self._state.objects

    @property
    def current(self) -> int:
        """Place of the object that prompts go to; N: the next prompt begins a new one."""
        return self._state.current

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) bool, the masks of all objects; UserError where they are larger than TEST.MAX_RESULT_GB."""
        check_mask_memory(self._encoded.predictor.cfg, self.size, len(self.objects))
        return decode_masks([o.rle for o in self.objects], self.size)

    @property
    def scores(self) -> np.ndarray:
        """(N,) float32, confidence 0..1 of each object."""
        return np.array([o.score for o in self.objects], np.float32)

    def predict(self, tasks: Sequence[str], categories: Sequence[Category] | None = None) -> Prediction:
        """Returns what the network predicts without prompts, from the same features.

        Args:
            tasks: names of tasks (:mod:`segfoundry.datasets.tasks`) that the features are enough for.
            categories: vocabulary; None: the predictor's.
        """
        return self._encoded.decode(tasks, categories)

    def _object(self) -> PromptedObject | None:
        return self.objects[self.current] if self.current < len(self.objects) else None

    def _with_anchor(self, found: PromptedObject | None, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        """Adds a point inside the mask where only negative strokes correct what a text has found.

        The networks have no notion of an object without a positive stroke.
        """
        if found is None or not prompts or any(p.positive for p in prompts):
            return prompts
        mask = decode_masks([found.rle], self.size)[0]
        if not mask.any():
            return prompts
        row, column, _ = innermost_pixel(mask)
        return (Point(column + 0.5, row + 0.5), *prompts)

    def _change(self, state: _State) -> None:
        self._earlier.append(self._state)
        self._state = state

    def _check_index(self, index: int) -> None:
        if not isinstance(index, int) or not 0 <= index < len(self.objects):
            raise UserError(f"object {index!r}: there are {len(self.objects)}, counted from 0")
