"""The page in headless Chromium: real clicks, drags and keys; skipped where no Chromium is installed."""

import json
import threading

import numpy as np
import pytest
from PIL import Image

from segfoundry.trainer.demo.server import DemoServer
from segfoundry.utils.image_io import read_image

from ....support import chromium, tiny_sam
from ....support.pointer import Pointer, picture, predictor, square

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed")
SIZE = (240, 320)  # of the image; the network sees 64 pixels of it
SHIFT = 8


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def serve():
    servers = []

    def start(model=None):
        server = DemoServer(predictor(model), "127.0.0.1", 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(picture(*SIZE)).save(tmp_path / "squares.png")
    return tmp_path / "squares.png"


def load(page, photo):
    page.wait("document.body.dataset.ready === 'true'")
    page.choose_file("#file", photo)
    page.wait("document.body.dataset.objects === '0'")


def middle(place):
    rows, columns = np.nonzero(square(place, *SIZE))
    return int(columns.mean()), int(rows.mean())


def covered(page, number, places=((0, 1, 2))):
    """Returns which squares the mask of an object covers in the middle."""
    return [
        place
        for place in places
        if page.evaluate(f"segfoundry.covers({number}, {middle(place)[0]}, {middle(place)[1]})")
    ]


def color_at(page, x, y):
    """Returns the colour (r, g, b) that the canvas shows at a pixel of the image."""
    return page.evaluate(
        f"(() => {{ const v = segfoundry.view; return [...v.context.getImageData(Math.round({x} * v.scale + v.left),"
        f" Math.round({y} * v.scale + v.top), 1, 1).data].slice(0, 3); }})()"
    )


def test_clicks_drags_texts_undo_and_downloads(open_page, serve, photo, tmp_path):
    server = serve()
    page = open_page(server.url)
    load(page, photo)
    # a place inside the red square but away from the mark of the click
    beside = (middle(0)[0] + 3 * SHIFT // 2, middle(0)[1] + 6 * SHIFT)
    before = color_at(page, *beside)
    page.draw(middle(0))
    page.wait("document.body.dataset.objects === '1'")
    assert covered(page, 0) == [0]
    assert color_at(page, *beside) != before, "the mask is painted over the image"
    page.screenshot(tmp_path / "page.png")
    assert read_image(tmp_path / "page.png").std() > 10

    page.click("#new")
    page.click("[data-tool=box]")
    x, y = middle(1)
    page.draw((x - 12, y - 40), (x, y), (x + 12, y + 40))
    page.wait("document.body.dataset.objects === '2'")
    assert covered(page, 1) == [1]

    page.click("#new")
    page.click("#text")
    page.type("the blue one")
    page.key("Enter")
    page.wait("document.body.dataset.objects === '3'")
    assert covered(page, 2) == [2]
    assert page.evaluate("document.querySelector('#objects li.current .name').textContent") == "the blue one"

    page.click("#undo")
    page.wait("document.body.dataset.objects === '2'")
    result = page.evaluate("fetch(document.querySelector('#json').href).then((r) => r.json())")
    assert [a["prompts"][0].keys() for a in result["annotations"]] == [{"point": 0}.keys(), {"box": 0}.keys()]
    assert (
        page.evaluate("fetch(document.querySelector('#objects a').href).then((r) => r.headers.get('Content-Type'))")
        == "image/png"
    )
    page.click("#reset")
    page.wait("document.body.dataset.objects === '0'")
    assert server.predictor.model.encoded == 1
    assert all(url.startswith(server.url) for url in page.requests) and len(page.requests) > 8
    assert not page.errors


def test_negative_clicks_scribbles_polygons_and_circles(open_page, serve, photo):
    page = open_page(serve().url)
    load(page, photo)
    x, y = middle(2)
    for tool, way in {
        "scribble": [(x, y - 20), (x + 4, y), (x, y + 20)],
        "circle": [(x, y), (x + 10, y)],
    }.items():
        page.click(f"[data-tool={tool}]")
        page.draw(*way)
        page.wait("document.body.dataset.objects === '1'")
        assert covered(page, 0) == [2]
        page.click("#new")
        page.click("#reset")
        page.wait("document.body.dataset.objects === '0'")
    page.click("[data-tool=polygon]")
    for corner in ((x - 10, y - 30), (x + 10, y - 30), (x, y + 30)):
        page.draw(corner)
    page.key("Enter")
    page.wait("document.body.dataset.objects === '1'")
    assert covered(page, 0) == [2]
    page.click("[data-tool=point]")
    page.draw(middle(0), button="right")
    page.wait("segfoundry.view.prompts.length === 2")
    assert page.evaluate("segfoundry.view.prompts[1].positive") is False


def test_everything_by_category(open_page, serve, photo):
    page = open_page(serve().url)
    load(page, photo)
    page.click("#find")
    page.wait("document.querySelectorAll('#picks li').length === 2")
    shown = color_at(page, *middle(2))
    page.click("#picks li:nth-child(2) input")
    page.wait("document.querySelectorAll('#picks input:checked').length === 1")
    hidden = color_at(page, *middle(2))
    assert shown != hidden and np.abs(np.subtract(hidden, (30, 30, 200))).max() < 30  # the blue square itself


def test_tabs_do_not_see_each_other(open_page, serve, photo):
    server = serve()
    first, second = open_page(server.url), open_page(server.url)
    load(first, photo)
    load(second, photo)
    first.draw(middle(0))
    first.wait("document.body.dataset.objects === '1'")
    second.draw(middle(1))
    second.wait("document.body.dataset.objects === '1'")
    assert covered(first, 0) == [0] and covered(second, 0) == [1]


@pytest.mark.parametrize(
    ("kinds", "results", "shown"),
    [
        (("stroke",), {"panoptic"}, {"strokes", "objects-box", "everything", "downloads"}),
        (("text",), set(), {"phrase", "objects-box", "downloads"}),
        (("stroke", "text"), set(), {"strokes", "phrase", "objects-box", "downloads"}),
        ((), {"panoptic"}, {"everything", "downloads"}),
    ],
)
def test_parts_that_the_network_lacks_are_hidden(open_page, serve, photo, kinds, results, shown):
    model = Pointer(kinds)
    model.result_kinds, model.tasks = frozenset(results), tuple(results)
    page = open_page(serve(model).url)
    load(page, photo)
    parts = ("strokes", "phrase", "objects-box", "everything", "downloads")
    assert {p for p in parts if not page.evaluate(f"document.getElementById('{p}').hidden")} == shown


def test_errors_are_shown(open_page, serve, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    page = open_page(serve().url)
    page.wait("document.body.dataset.ready === 'true'")
    page.choose_file("#file", tmp_path / "bad.png")
    page.wait("!document.getElementById('error').hidden")
    assert "bad.png: no image" in page.evaluate("document.getElementById('error').textContent")


# What a person presses, but for the rows of the lists: name -> place in the window.
CONTROLS = """(() => {
  const all = [...document.querySelectorAll("canvas, button, .button, input:not(#file)")];
  return Object.fromEntries(all.filter((e) => !e.closest("li")).map((e) => {
    const b = e.getBoundingClientRect();
    return [e.id || `${e.textContent} ${e.dataset.tool || ""}`, [b.x, b.y, b.width, b.height]];
  }));
})()"""


@pytest.mark.parametrize("window", [(1280, 860), (1000, 600), (700, 900)])
def test_no_control_moves_while_the_page_is_used(open_page, serve, photo, tmp_path, window):
    long_name = tmp_path / f"{'a rather long name ' * 12}.png"
    long_name.write_bytes(b"no picture")
    page = open_page(serve().url)
    page.resize(*window)
    page.wait("document.body.dataset.ready === 'true'")
    places = page.evaluate(CONTROLS)
    assert len(places) == 21

    load(page, photo)
    assert page.evaluate(CONTROLS) == places, "an image is read"
    page.click("[data-tool=scribble]")
    page.wait("document.getElementById('width').checkVisibility({ visibilityProperty: true })")
    assert page.evaluate(CONTROLS) == places, "the width of a scribble can be set"
    page.click("[data-tool=point]")
    phrase = "the blue one, which stands to the right of all the others in this picture"
    for number in range(1, 11):
        page.evaluate(f"document.querySelector('#text').value = {json.dumps(phrase)}")
        page.click("#phrase button")
        page.wait(f"document.body.dataset.objects === '{number}'")
        page.click("#new")
        page.wait("document.querySelector('#objects li.next') !== null")
        page.evaluate("document.querySelector('aside').scrollTo(0, 0)")
        assert page.evaluate(CONTROLS) == places, f"{number} objects"
    seen = "(() => { const [a, b] = ['#objects', '#objects li.next'].map((s) => document.querySelector(s)"
    seen += ".getBoundingClientRect()); return b.top >= a.top - 1 && b.bottom <= a.bottom + 1; })()"
    assert page.evaluate(seen), "the list shows what the next prompt belongs to"
    page.click("#find")
    page.wait("document.querySelectorAll('#picks li').length === 2")
    page.choose_file("#file", long_name)
    page.wait("!document.getElementById('error').hidden")
    page.evaluate("document.querySelector('aside').scrollTo(0, 0)")
    assert page.evaluate(CONTROLS) == places, "an error is shown"
    middle_of_error = "(() => { const b = document.querySelector('#error').getBoundingClientRect();"
    middle_of_error += " return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2).id; })()"
    assert page.evaluate(middle_of_error) == "canvas", "a click on the image passes through the message over it"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dlo", "promptable"])
def test_sam_answers_clicks_and_finds_regions(open_page, photo, task):
    used = tiny_sam.predictor(
        SAM__TASK=task,
        SAM__DLO__INPUT__STANDARD_SIZE=[48, 64],
        SAM__AMG__PRED_IOU_THRESH=0.0,
        SAM__AMG__STABILITY_SCORE_THRESH=0.0,
    )
    server = DemoServer(used, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = open_page(server.url)
        load(page, photo)
        assert page.evaluate("document.getElementById('categories').hidden")
        title = page.evaluate("document.getElementById('everything-title').textContent")
        assert title == ("Foreground" if task == "dlo" else "Everything")
        page.draw(middle(0))
        page.wait("document.body.dataset.objects === '1'")
        page.draw(middle(1), button="right")
        page.wait("segfoundry.view.prompts.length === 2")
        page.click("#new")
        page.click("[data-tool=box]")
        page.draw((20, 20), (60, 60), (120, 100))
        page.wait("document.body.dataset.objects === '2'")
        page.click("#find")
        page.wait("document.querySelectorAll('#picks li').length === 1")
        assert not page.errors
    finally:
        server.shutdown()
        server.server_close()
