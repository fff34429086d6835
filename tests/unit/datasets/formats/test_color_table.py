"""Colour tables in their three syntaxes."""

import json

import numpy as np
import pytest

from segfoundry.datasets.formats.color_table import UNKNOWN, VOID_INDEX, parse_color_table, read_color_table
from segfoundry.utils.errors import DataError

from ....support.data_sets import TABLE

CSVS = [
    "name,color,kind\nwall,#787878,stuff\nfloor,80 50 50,stuff\ncup,#dc143c,thing\nnothing,#000000,ignore\n",
    "name;r;g;b;kind\nwall;120;120;120;stuff\nfloor;80;50;50;stuff\ncup;220;20;60;thing\n-;0;0;0;ignore\n",
    'name,color,isthing\nwall,"[120, 120, 120]",0\nfloor,"[80,50,50]",false\ncup,"220, 20, 60",1\n',
]


def test_yaml_json_and_csv_mean_the_same(tmp_path):
    (tmp_path / "t.yaml").write_text(TABLE)
    table = read_color_table(tmp_path / "t.yaml")
    assert [(c.id, c.name, c.isthing, c.color) for c in table.categories] == [
        (1, "wall", False, (120, 120, 120)),
        (2, "floor", False, (80, 50, 50)),
        (3, "cup", True, (220, 20, 60)),
    ]
    assert table.ignore_colors == ((0, 0, 0),)
    for number, text in enumerate(CSVS):
        (tmp_path / f"{number}.csv").write_text(text, encoding="utf-8-sig")
        assert read_color_table(tmp_path / f"{number}.csv").categories == table.categories
    entries = [
        {"name": c.name, "color": list(c.color), "kind": "thing" if c.isthing else "stuff"} for c in table.categories
    ]
    (tmp_path / "t.json").write_text(json.dumps(entries))
    assert read_color_table(tmp_path / "t.json").categories == table.categories


def test_meaning_of_colours():
    table = parse_color_table(
        {
            "ignore_color": [0, 0, 0],
            "categories": [
                {"name": "a", "color": [10, 10, 10], "isthing": False, "shades": [[20, 20, 20]]},
                {"name": "b", "color": [200, 0, 0], "isthing": True, "range": [[200, 0, 0], [220, 0, 9]]},
            ],
        },
        "t",
    )
    colors = np.array([[10, 10, 10], [20, 20, 20], [210, 0, 5], [0, 0, 0], [12, 9, 11], [90, 90, 90]], np.uint8)
    np.testing.assert_array_equal(table.assign(colors)[0], [0, 0, 1, VOID_INDEX, UNKNOWN, UNKNOWN])
    meaning, snapped = table.assign(colors, tolerance=2)
    np.testing.assert_array_equal(meaning, [0, 0, 1, VOID_INDEX, 0, UNKNOWN])
    assert snapped[4] == 10 + 256 * 10 + 65536 * 10


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "list of categories"),
        ([{"name": "a", "isthing": True}], "`color` is missing"),
        ([{"color": [1, 2, 3], "isthing": True}], "`name` is missing"),
        ([{"name": "a", "color": [1, 2, 3]}], "isthing"),
        ([{"name": "a", "color": [1, 2, 3], "kind": "things"}], "expected thing"),
        ([{"name": "a", "colr": [1, 2, 3], "kind": "thing"}], "did you mean 'color'"),
        ([{"name": "a", "color": [1, 2, 3], "kind": "thing"}] * 2, "already the name"),
        ([{"name": n, "color": [1, 2, 3], "kind": "thing"} for n in "ab"], "already the color"),
        ({"ignore_color": [1, 2, 3], "categories": [{"name": "a", "color": [1, 2, 3], "kind": "thing"}]}, "means both"),
        ([{"name": "a", "color": [1, 2, 3], "kind": "thing", "range": [[5, 5, 5], [1, 9, 9]]}], "lowest, then highest"),
        ([{"name": "a", "color": [1, 2, 3], "kind": "thing", "instances": "colour"}], "did you mean 'color'"),
        (
            [
                {"name": "a", "color": [1, 2, 3], "kind": "thing", "range": [[0, 0, 0], [50, 50, 50]]},
                {"name": "b", "color": [9, 9, 9], "kind": "thing"},
            ],
            "range of 'a' holds",
        ),
    ],
)
def test_faults(data, text):
    with pytest.raises(DataError, match=text):
        parse_color_table(data, "table.yaml")


def test_csv_with_ragged_rows(tmp_path):
    (tmp_path / "t.csv").write_text("name,color,kind\nwall,#787878\n")
    with pytest.raises(DataError, match="line 2"):
        read_color_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("²,cup,#dc143c,thing", "categories[0].id: '²', expected a whole number"),
        (f"{'9' * 5000},cup,#dc143c,thing", "expected a whole number from 0"),
        (f"1,cup,{'7' * 140_000},thing", "line 2 is no CSV (field larger than field limit"),
        ("1,cup,1 2 ³,thing", "is no colour"),
    ],
)
def test_numbers_in_csv_that_are_none(tmp_path, row, message):
    path = tmp_path / "t.csv"
    path.write_text(f"id,name,color,kind\n{row}\n", encoding="utf-8")
    with pytest.raises(DataError) as found:
        read_color_table(path)
    assert message in str(found.value)
