"""What ``validate`` can find: one code per kind of fault, with its weight and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
_PLACES_KEPT = 20


class Kind(NamedTuple):
    """A kind of fault: how bad it is, what it is called, and how to mend it."""

    level: str
    title: str
    fix: str


_MAKE_AGAIN = "make the annotations again from the masks (prepare), or correct the JSON"
KINDS: dict[str, Kind] = {
    # files
    "folder-missing": Kind(ERROR, "folder missing or empty", "correct the path in the record"),
    "json-invalid": Kind(ERROR, "annotation JSON unreadable or of another kind", "see the message"),
    "path-outside-root": Kind(
        WARNING, "path leaves the data set's root", "move the files below `root`, or widen `root`"
    ),
    "file-name-unsafe": Kind(
        ERROR, "file name in the JSON leads out of its folder", "use names relative to the folder"
    ),
    "file-name-foreign": Kind(
        WARNING,
        "file name as another machine writes it",
        "it is read; for other tools write names relative to the folder, with /",
    ),
    "image-missing": Kind(ERROR, "image missing", "restore the file, or remove its entries from the JSON"),
    "png-missing": Kind(ERROR, "panoptic PNG missing", "restore the file, or remove its annotation"),
    "semantic-missing": Kind(ERROR, "semantic PNG missing", "prepare --convert panoptic2semantic"),
    "objects-missing": Kind(ERROR, "object PNG missing", "restore the file, or take the image out of the list"),
    "objects-extra": Kind(NOTE, "object PNG without image (unused)", "remove it"),
    "objects-unreadable": Kind(ERROR, "object PNG unreadable or no one-channel picture", "write it again as 8-bit PNG"),
    "foreground-missing": Kind(ERROR, "image without foreground mask", "add the mask, or remove the image"),
    "foreground-extra": Kind(ERROR, "foreground mask without image", "add the image, or remove the mask"),
    "foreground-unreadable": Kind(ERROR, "foreground mask unreadable", "write it again as 8-bit PNG"),
    "background-unreadable": Kind(ERROR, "image for backgrounds unreadable", "restore the file, or remove it"),
    "list-invalid": Kind(ERROR, "list of images missing or naming what is not there", "correct the list"),
    "file-absent": Kind(
        NOTE, "file that the split can do without", "add it where phrases, captions or finer masks help"
    ),
    "image-extra": Kind(WARNING, "image without annotation (unused)", "annotate it, or remove it"),
    "png-extra": Kind(WARNING, "panoptic PNG without entry in the JSON (unused)", "add its annotation, or remove it"),
    "semantic-extra": Kind(NOTE, "semantic PNG without image (unused)", "remove it"),
    "image-unreadable": Kind(ERROR, "image unreadable, truncated or too large", "restore or re-encode the file"),
    "png-unreadable": Kind(
        ERROR, "panoptic PNG unreadable, truncated or no colour picture", "write it again as RGB PNG"
    ),
    "semantic-unreadable": Kind(
        ERROR, "semantic PNG unreadable or no one-channel picture", "write it again as 8-bit PNG"
    ),
    "stem-ambiguous": Kind(ERROR, "a name fits several files", "keep one of them"),
    "case-collision": Kind(
        WARNING, "names that differ only by case", "rename: such files replace each other on some disks"
    ),
    # pictures
    "size-differs": Kind(ERROR, "sizes of image, PNG and JSON differ", "annotate at the image's own size"),
    "exif-rotated": Kind(WARNING, "image with EXIF rotation", "rotate the pixels; other tools may ignore the tag"),
    "decoder-warning": Kind(
        WARNING, "picture whose decoder complains", "restore or re-encode the file; part of it may be damaged"
    ),
    "image-dark": Kind(
        WARNING,
        "image of more than 8 bits in a small part of the range",
        "say how many bits the values have (INPUT.BIT_DEPTH), or stretch them",
    ),
    "depth-differs": Kind(
        WARNING,
        "images of more than 8 bits are read by different ranges",
        "give all the same range: INPUT.BIT_DEPTH 12 or 16",
    ),
    "pages-unread": Kind(
        WARNING, "file of several pages or frames", "only the first is read; write the others as files of their own"
    ),
    "label-transparent": Kind(
        WARNING,
        "annotation picture with transparent pixels",
        "they count as unlabelled, in foreground masks as background; write the picture without alpha",
    ),
    "image-mode": Kind(NOTE, "image is not 8-bit RGB or grey", "it is converted when read"),
    "png-mode": Kind(WARNING, "panoptic PNG is not plain 8-bit RGB", "write it as RGB; other tools misread it"),
    "duplicate-in-split": Kind(WARNING, "the same image twice in a split", "keep one"),
    "duplicate-across-splits": Kind(
        ERROR, "the same image in two splits", "keep it in one; evaluation would not be fair"
    ),
    # JSON
    "image-id-duplicate": Kind(ERROR, "image id given twice", "give each image its own id"),
    "file-name-duplicate": Kind(ERROR, "file name given twice", "one entry per file"),
    "annotations-empty": Kind(
        ERROR, "no annotation at all", "annotate the images, or take the split out of the record"
    ),
    "annotation-missing": Kind(
        ERROR, "image entry without annotation", "add one (an empty list of segments is allowed)"
    ),
    "annotation-duplicate": Kind(ERROR, "image with two annotations", "merge or remove one"),
    "annotation-orphan": Kind(ERROR, "annotation of an image that is not listed", "add the image, or remove it"),
    "number-invalid": Kind(ERROR, "number not finite or not whole where it must be", "correct the JSON"),
    "category-unknown": Kind(ERROR, "category id that the record does not list", "add the category, or correct the id"),
    "category-differs": Kind(ERROR, "record and JSON disagree about a category", "make id, name and isthing equal"),
    "names-alike": Kind(
        WARNING,
        "category names that a text encoder reads the same",
        "give each a name of its own: networks that read names predict at most one of them",
    ),
    "segment-id-invalid": Kind(ERROR, "segment id outside 1..16777215", "0 is unlabelled; give another id"),
    "segment-id-duplicate": Kind(ERROR, "segment id twice in one image", "give each segment its own id"),
    "id-not-in-json": Kind(ERROR, "id in the PNG, not in the JSON", _MAKE_AGAIN),
    "id-not-in-png": Kind(ERROR, "id in the JSON, not in the PNG", _MAKE_AGAIN),
    "area-wrong": Kind(ERROR, "area differs from the PNG (PQ tools trust it)", _MAKE_AGAIN),
    "bbox-wrong": Kind(WARNING, "bbox differs from the PNG", _MAKE_AGAIN),
    "bbox-outside": Kind(ERROR, "bbox leaves the image", _MAKE_AGAIN),
    "boxes-alike": Kind(WARNING, "two segments of a category with nearly the same box", "one object annotated twice?"),
    "stuff-twice": Kind(WARNING, "stuff category in several segments of one image", "one segment per stuff category"),
    "crowd-stuff": Kind(WARNING, "crowd flag on stuff", "only things can be crowds"),
    "crowd": Kind(NOTE, "crowd segments", "they are left out of training and ignored in evaluation"),
    # content
    "image-empty": Kind(WARNING, "image without any segment", "DATALOADER.FILTER_EMPTY_ANNOTATIONS leaves it out"),
    "nothing-annotated": Kind(ERROR, "no image has a segment", "there is nothing to learn"),
    "segment-tiny": Kind(NOTE, "segment of few pixels", "prepare --min_area removes them"),
    "void-share": Kind(WARNING, "large unlabelled share", "panoptic ground truth should cover generic classes too"),
    "category-absent": Kind(WARNING, "category without a segment", "remove it, or annotate it"),
    "category-rare": Kind(NOTE, "category with few segments", "more examples help"),
    "balance": Kind(NOTE, "things and stuff are unbalanced", "panoptic data usually hold both"),
    "foreground-none": Kind(ERROR, "no mask has foreground", "there is nothing to learn; are the masks black?"),
    "foreground-empty": Kind(NOTE, "mask without foreground", "the whole image counts as background"),
    "foreground-values": Kind(
        WARNING,
        "mask with several values above 0 (all count as foreground)",
        "soft edges or a JPEG: write 0 and 255 as PNG; class ids: write the masks of one class",
    ),
    "semantic-value": Kind(
        ERROR, "value in a semantic PNG that is no category index", "0..K-1 are categories, 255 is VOID"
    ),
    "semantic-differs": Kind(WARNING, "semantic and panoptic PNG disagree", "prepare --convert panoptic2semantic"),
    "grounding-invalid": Kind(ERROR, "file of phrases faulty", "see the message"),
    "captions-invalid": Kind(ERROR, "file of captions faulty", "see the message"),
    "instances-invalid": Kind(ERROR, "file of finer masks faulty", "see the message"),
}


@dataclass
class Finding:
    """One kind of fault in one split: how often, and where first."""

    code: str
    split: str
    count: int = 0
    places: list[str] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """Level, title and fix."""
        return KINDS[self.code]

    def as_json(self) -> dict[str, Any]:
        """Returns plain data for the JSON report."""
        return {"level": self.kind.level, "title": self.kind.title, "fix": self.kind.fix} | asdict(self)


class Findings:
    """Faults by (code, split); every fault is counted, the first places of each are kept."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, code: str, split: str, place: str, count: int = 1) -> None:
        """Counts a fault.

        Args:
            code: key of KINDS.
            split: name, or "" for the data set as a whole.
            place: file and detail.
            count: how many this place stands for.
        """
        finding = self._found.setdefault((code, split), Finding(code, split))
        assert code in KINDS
        finding.count += count
        if len(finding.places) < _PLACES_KEPT:
            finding.places.append(place)

    def keeps(self, code: str, split: str) -> bool:
        """Tells whether the place of the next fault of that kind will be shown."""
        return (code, split) not in self._found or len(self._found[code, split].places) < _PLACES_KEPT

    def extend(self, split: str, faults: Iterable[tuple[str, str]]) -> None:
        """Counts (code, place) pairs."""
        for code, place in faults:
            self.add(code, split, place)

    def sorted(self) -> list[Finding]:
        """Returns the findings, errors first, in the order of KINDS."""
        levels, order = [ERROR, WARNING, NOTE], list(KINDS)
        return sorted(self._found.values(), key=lambda f: (levels.index(f.kind.level), order.index(f.code), f.split))

    def count(self, level: str) -> int:
        """Returns how many kinds of fault of that level there are."""
        return sum(f.kind.level == level for f in self._found.values())
