"""Files of prompts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.datasets.formats.prompt_file import parse_objects, parse_prompts, prompts_as_entries, read_prompt_file
from segfoundry.utils.errors import DataError
from segfoundry.utils.prompts import Box, Circle, Point, Polygon, Scribble

NUMBER = st.floats(0, 1e5)
XY = st.tuples(NUMBER, NUMBER)
PROMPTS = st.lists(
    st.one_of(
        st.builds(Point, NUMBER, NUMBER, st.booleans()),
        st.builds(Box, NUMBER, NUMBER, NUMBER, NUMBER, st.booleans()),
        st.builds(Circle, NUMBER, NUMBER, NUMBER, st.booleans()),
        st.builds(Polygon, st.lists(XY).map(tuple), st.booleans()),
        st.builds(Scribble, st.lists(XY).map(tuple), st.booleans(), NUMBER),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["point", "box", "text", "prompts", "positive", "width", "scribble", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(PROMPTS)
def test_strokes_survive_the_file(prompts):
    assert parse_prompts(json.loads(json.dumps(prompts_as_entries(prompts))), "here") == tuple(prompts)


@given(JSON)
def test_anything_else_is_one_clear_error(value):
    try:
        parse_objects(value, "some file")
    except DataError as error:
        assert str(error).startswith("some file")


def test_a_file_for_every_image(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text("- {text: the left cup}\n- {name: plate, prompts: [{point: [3, 4]}, {box: [1, 2, 3, 4]}]}\n")
    first, second = read_prompt_file(path).objects(Path("any.jpg"))
    assert first.text == "the left cup" and first.prompts == ()
    assert second.name == "plate" and second.prompts == (Point(3, 4), Box(1, 2, 3, 4))


def test_images_by_name(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"images": {"a.jpg": [{"text": "cup"}], "sub/a.jpg": [{"text": "dog"}]}}))
    found = read_prompt_file(path)
    assert found.objects(Path("x/a.jpg"))[0].text == "cup" and found.objects(Path("x/sub/a.jpg"))[0].text == "dog"
    assert found.objects(Path("b.jpg")) == ()
    assert found.fitted_to([Path("/d/a.jpg"), Path("/d/sub/a.jpg")], path) == found
    with pytest.raises(DataError, match=r"no input is named 'sub/a.jpg', did you mean 'a.jpg'"):
        found.fitted_to([Path("a.jpg")], path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: [a]", "expected a list of objects, or 'images:'"),
        ("7", "expected a list of objects"),
        ("- {}", "needs prompts, a text, or both"),
        ("- {text: ''}", "text must be words"),
        ("- {text: 5}", "text must be words"),
        ("- {txt: cup}", "unknown entry 'txt', did you mean 'text'"),
        ("- {prompts: {point: [1, 2]}}", "prompts must be a list"),
        ("- {prompts: [{point: [1]}]}", "object 1, prompt 1: point must be 2 numbers"),
        ("- {prompts: [{point: [1, true]}]}", "point must be 2 numbers"),
        ("- {prompts: [{point: [1, 2], box: [1, 2, 3, 4]}]}", "exactly one of"),
        ("- {prompts: [{scribble: 5}]}", "scribble must be a list"),
        ("- {prompts: [{point: [1, 2], width: 3}]}", "width is the breadth"),
        ("- {prompts: [{point: [1, 2], positive: 1}]}", "positive must be true or false"),
    ],
)
def test_faulty_files(tmp_path, text, message):
    path = tmp_path / "prompts.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_prompt_file(path)
    assert str(caught.value).startswith(str(path))


def test_names_of_other_machines(tmp_path):
    path = tmp_path / "prompts.json"
    names = ("C:\\scans\\a.jpg", "sub\\b.jpg", "my%20cup.jpg", "/srv/her/c%20d.jpg")
    path.write_text(json.dumps({"images": {name: [{"text": f"cup {i}"}] for i, name in enumerate(names)}}))
    files = [Path("in/a.jpg"), Path("in/sub/b.jpg"), Path("in/my cup.jpg"), Path("in/c d.jpg")]
    found = read_prompt_file(path).fitted_to(files, path)
    assert [found.objects(file)[0].text for file in files] == ["cup 0", "cup 1", "cup 2", "cup 3"]
    with pytest.raises(DataError, match=r"no input is named 'C:/scans/a.jpg'"):
        read_prompt_file(path).fitted_to([*files, Path("in/sub/a.jpg")], path)  # two files have that name
    path.write_text(json.dumps({"images": {"a.jpg": [{"text": "cup"}], "C:\\scans\\a.jpg": [{"text": "cup"}]}}))
    with pytest.raises(DataError, match=r"another name mean a.jpg"):
        read_prompt_file(path).fitted_to([Path("a.jpg")], path)
