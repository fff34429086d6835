"""Files of a user's own sentences."""

import json

import pytest

from segfoundry.datasets.formats.grounding import read_sentences
from segfoundry.datasets.records.record import FOREGROUND
from segfoundry.utils.errors import DataError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"categories": "cup"}, "categories: expected a mapping from names, found 'cup'"),
        ({"images": []}, "images: expected a mapping from names, found []"),
        ({"images": {"a": [{"category": 7, "sentences": "x"}]}}, "images.a[0].category: 7, expected the name"),
        ({"images": {"a": [{"point": [True, 1], "sentences": "x"}]}}, "expected [x, y] in whole pixels"),
    ],
)
def test_entries_of_another_kind(tmp_path, content, message):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as found:
        read_sentences(path, (FOREGROUND,))
    assert message in str(found.value)
    path.write_text('{"categories": null, "images": {"a": [{"category": "foreground", "sentences": " one "}]}}')
    assert read_sentences(path, (FOREGROUND,)).images["a"][0]["sentences"] == ["one"]
