"""The page's server: what it answers, what it refuses, and that no file of the machine is readable through it."""

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segfoundry.trainer.cli.main import main
from segfoundry.trainer.demo import server as module
from segfoundry.trainer.demo.open_images import OpenImages
from segfoundry.trainer.demo.server import DemoLimits, DemoServer, is_loopback
from segfoundry.utils.image_io import read_label
from segfoundry.utils.masks import decode_masks

from ....support.pointer import Pointer, picture, predictor, square

ROOT = Path(__file__).resolve().parents[4]
STATIC = ROOT / "trainer" / "demo" / "static"


@pytest.fixture(scope="module")
def server():
    yield from serving(DemoServer(predictor(), "127.0.0.1", 0, DemoLimits(upload=200_000, pixels=100_000, images=3)))


def serving(started):
    thread = threading.Thread(target=started.serve_forever, daemon=True)
    thread.start()
    yield started
    started.shutdown()
    started.server_close()


def ask(server, method, path, body=None, **headers):
    """Returns status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def opened(server, image=None, name="a.png"):
    status, _, body = ask(server, "POST", f"/api/images?name={name}", png(picture() if image is None else image))
    assert status == 200, body
    return json.loads(body)


def act(server, key, **request):
    status, _, body = ask(server, "POST", f"/api/images/{key}/actions", json.dumps(request))
    return status, json.loads(body)


def test_click_undo_and_downloads(server):
    image = opened(server, name="my%20cup.png")
    assert (image["width"], image["height"]) == (64, 48)
    key = image["id"]
    status, state = act(server, key, action="prompt", prompts=[{"point": [12, 24]}])
    assert status == 200 and state["current"] == 0 and 0 <= state["seconds"] < 300
    np.testing.assert_array_equal(decode_masks([state["objects"][0]["mask"]], (48, 64))[0], square(0))
    act(server, key, action="new")
    act(server, key, action="text", text="blue")
    status, headers, body = ask(server, "GET", f"/api/images/{key}/mask.png")
    assert headers["Content-Disposition"] == 'attachment; filename="my_cup_objects.png"'
    labels = np.asarray(Image.open(io.BytesIO(body)))
    np.testing.assert_array_equal(labels, square(0) + 2 * square(2).astype(int))
    _, _, body = ask(server, "GET", f"/api/images/{key}/mask.png?object=1")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(body))), square(2) * 255)
    _, _, body = ask(server, "GET", f"/api/images/{key}/result.json")
    result = json.loads(body)
    assert [(a["object"], a["text"]) for a in result["annotations"]] == [(1, None), (2, "blue")]
    assert result["images"][0]["file_name"] == "my cup.png"
    assert [(a["id"], a["image_id"], a["category_id"]) for a in result["annotations"]] == [(1, 1, 1), (2, 1, 2)]
    assert result["categories"] == [{"id": 1, "name": "object"}, {"id": 2, "name": "blue"}]
    _, state = act(server, key, action="undo")
    assert len(state["objects"]) == 1
    assert len(act(server, key, action="reset")[1]["objects"]) == 0
    _, headers, body = ask(server, "GET", f"/api/images/{key}/picture")
    assert headers["Content-Type"] == "image/jpeg" and Image.open(io.BytesIO(body)).size == (64, 48)
    assert json.loads(ask(server, "GET", f"/api/images/{key}/state")[2])["objects"] == []


def test_everything_by_category(server):
    key = opened(server)["id"]
    status, _, body = ask(server, "POST", f"/api/images/{key}/everything", "{}")
    assert status == 200 and [s["name"] for s in json.loads(body)["segments"]] == ["cup", "table"]
    _, _, body = ask(server, "POST", f"/api/images/{key}/everything", json.dumps({"categories": "dog, sky:stuff"}))
    assert [(s["name"], s["isthing"]) for s in json.loads(body)["segments"]] == [("dog", True), ("sky", False)]
    status, _, body = ask(server, "POST", f"/api/images/{key}/everything", json.dumps({"categories": "a,,b"}))
    assert status == 400 and "a name is empty" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"action": "prompt", "prompts": [{"point": [65, 3]}]}, "outside the image"),
        ({"action": "prompt", "prompts": [{"point": [1, 2], "positive": False}]}, "something positive"),
        ({"action": "prompt", "prompts": []}, "no prompt"),
        ({"action": "prompt"}, "prompts must be a list"),
        ({"action": "text", "text": ""}, "expected words"),
        ({"action": "text", "text": "a" * 1001}, "at most 1000"),
        ({"action": "text", "text": 5}, "expected a text"),
        ({"action": "select", "object": 3}, "there are 0"),
        ({"action": "remove", "object": "0"}, "whole number"),
        ({"action": "__class__"}, "unknown action"),
        ({"action": ["undo"]}, "unknown action"),
        ({}, "unknown action"),
    ],
)
def test_requests_that_make_no_sense(server, request_, text):
    status, answer = act(server, opened(server)["id"], **request_)
    assert status == 400 and text in answer["error"]


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", b"[" * 5000])
def test_bodies_that_are_no_json(server, body):
    status, _, answer = ask(server, "POST", f"/api/images/{opened(server)['id']}/actions", body)
    assert status == 400 and "JSON" in json.loads(answer)["error"]


def test_files_that_are_no_image(server):
    for data, text in ((b"", "the file is empty"), (b"GIF89a", "no image"), (png(picture())[:-60], "truncated")):
        status, _, body = ask(server, "POST", "/api/images?name=x.png", data)
        assert status == 400 and "x.png" in json.loads(body)["error"] and text in json.loads(body)["error"]


def test_the_depth_of_images_reaches_the_page(server, monkeypatch):
    deep = np.full((40, 50), 1000, np.uint16)
    opened(server, deep)
    monkeypatch.setattr(server, "predictor", predictor(INPUT__BIT_DEPTH="8"))
    status, _, body = ask(server, "POST", "/api/images?name=a.png", png(deep))
    assert status == 400 and "INPUT.BIT_DEPTH 8 allows 0..255" in json.loads(body)["error"]


def test_limits_of_upload_and_pixels(server):
    status, _, body = ask(server, "POST", "/api/images", b"\0" * 200_001)
    assert status == 413 and "0.2 MB" in json.loads(body)["error"]
    status, _, body = ask(server, "POST", "/api/images", png(np.zeros((400, 400, 3), np.uint8)))
    assert status == 400 and "160000 pixels, the limit is 100000" in json.loads(body)["error"]
    assert "--max-pixels" in json.loads(body)["error"]
    raw = b"POST /api/images HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: -5\r\n\r\n" % server.port
    endless = (b"9" * 400, b"9" * 5000)
    for text in (
        raw,
        raw.replace(b"Content-Length: -5\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(raw.replace(b"-5", digits) for digits in endless),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=300) as connection:
            connection.sendall(text)
            assert b" 411 " in connection.recv(1000)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "//etc/passwd",
        "/../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/../../../pyproject.toml",
        "/page.js/../server.py",
        "/server.py",
        "/static/page.js",
        "/file=/etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/api/images/..%2f..%2fetc/picture",
        "/api/images/../picture",
        "/index.html",
        "/api",
        "file:///etc/passwd",
        "http://localhost/etc/passwd",
        "/page.js%00",
        "/\\..\\..\\etc\\passwd",
    ],
)
def test_no_file_of_the_machine_is_readable(server, path):
    for method in ("GET", "POST"):
        status, _, body = ask(server, method, path, b"{}" if method == "POST" else None)
        assert status in (400, 403, 404), body
        assert body.startswith(b'{"error": ') and b"root:" not in body


def test_the_name_of_an_upload_is_never_a_path(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save(tmp_path / "secret.png")
    status, _, body = ask(server, "POST", "/api/images?name=secret.png", b"")
    assert status == 400 and "the file is empty" in json.loads(body)["error"]
    key = opened(server, name="..%2F..%2Fetc%2Fx%22%0d%0aSet-Cookie:%20a.png")["id"]
    _, headers, _ = ask(server, "GET", f"/api/images/{key}/mask.png")
    assert headers["Content-Disposition"] == 'attachment; filename="x_Set-Cookie_a_objects.png"'
    assert "Set-Cookie" not in headers and sorted(p.name for p in tmp_path.iterdir()) == ["secret.png"]


def test_unknown_and_guessed_images(server):
    for key in ("0", "a" * 64, opened(server)["id"][:-1]):
        status, answer = act(server, key, action="undo")
        assert status == 404 and "load it again" in answer["error"]


def test_methods_that_are_not_offered(server):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert ask(server, method, "/api/images")[0] == 501


def test_other_names_and_other_sites_are_refused(server):
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1:1", ""):
        status, _, body = ask(server, "GET", "/", Host=host)
        assert status == 403 and server.url in json.loads(body)["error"]
    for host in ("localhost", "127.0.0.1"):
        assert ask(server, "GET", "/", Host=f"{host}:{server.port}")[0] == 200
    data = png(picture())
    own = f"http://127.0.0.1:{server.port}"
    assert ask(server, "POST", "/api/images", data, Origin=own, Sec_Fetch_Site="same-origin")[0] == 200
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        assert ask(server, "POST", "/api/images", data, **headers)[0] == 403
        assert ask(server, "GET", "/api/model", **headers)[0] == 403


def test_the_page_loads_nothing_from_elsewhere(server):
    names = {"/", *(f"/{p.name}" for p in STATIC.iterdir() if p.name != "index.html")}
    for path in names:
        status, headers, body = ask(server, "GET", path)
        assert status == 200 and headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"'<>]*", body.decode()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
    used = re.findall(r'(?:src|href)="([^"#]+)"', (STATIC / "index.html").read_text())
    assert {f"/{name}" for name in used} <= names
    assert "Access-Control-Allow-Origin" not in headers and "python" not in str(headers).lower()


def test_images_give_way_to_newer_ones(server):
    keys = [opened(server)["id"] for _ in range(3)]
    act(server, keys[0], action="undo")  # the first is now the one used last
    opened(server)
    assert [act(server, key, action="undo")[0] for key in keys] == [200, 404, 200]
    assert len(server.images) == 3


def test_idle_and_closed_images_are_forgotten():
    now = [0.0]
    images = OpenImages(predictor(), 10, 60.0, clock=lambda: now[0])
    first, _ = images.open("a", picture())
    now[0] = 50.0
    second, _ = images.open("b", picture())
    now[0] = 100.0
    third, _ = images.open("c", picture())
    assert len(images) == 2 and first not in images._images
    images.close(second)
    images.close(second)
    assert len(images) == 1 and images.get(third).name == "c"


def test_objects_of_two_images_do_not_mix(server):
    one, two = opened(server)["id"], opened(server)["id"]
    act(server, one, action="prompt", prompts=[{"point": [12, 24]}])
    assert act(server, two, action="undo")[1]["objects"] == []
    _, state = act(server, two, action="prompt", prompts=[{"point": [28, 24]}])
    np.testing.assert_array_equal(decode_masks([state["objects"][0]["mask"]], (48, 64))[0], square(1))
    assert len(act(server, one, action="new")[1]["objects"]) == 1


def test_requests_at_the_same_time(server):
    key = opened(server)["id"]
    results = []
    ask_once = lambda: results.append(act(server, key, action="prompt", prompts=[{"point": [12, 24]}])[0])  # noqa: E731
    threads = [threading.Thread(target=ask_once) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 12
    _, state = act(server, key, action="new")
    assert len(state["objects"]) == 1 and len(state["objects"][0]["prompts"]) == 12


def test_a_failure_of_the_program_is_no_traceback_for_the_page(server, monkeypatch):
    key = opened(server)["id"]
    monkeypatch.setattr(server.predictor.model, "prompted", lambda *_: 1 / 0)
    status, answer = act(server, key, action="prompt", prompts=[{"point": [1, 1]}])
    assert status == 500 and answer["error"] == "the server failed; its terminal says why"
    monkeypatch.undo()
    assert act(server, key, action="undo")[0] == 200


def test_networks_without_prompts():
    for server in serving(DemoServer(predictor(Pointer(kinds=())), "127.0.0.1", 0)):
        assert json.loads(ask(server, "GET", "/api/model")[2])["prompts"] == []
        key = opened(server)["id"]
        status, _, body = ask(server, "POST", f"/api/images/{key}/everything", "{}")
        assert status == 200 and len(json.loads(body)["segments"]) == 2
        status, answer = act(server, key, action="prompt", prompts=[{"point": [1, 1]}])
        assert status == 400 and "takes no prompts" in answer["error"]
        status, _, body = ask(server, "POST", f"/api/images/{key}/everything", '{"categories": "dog"}')
        assert status == 400
        assert json.loads(ask(server, "GET", f"/api/images/{key}/result.json")[2])["annotations"] == []


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("box", False)]
)
def test_which_addresses_only_this_machine_reaches(host, local):
    assert is_loopback(host) == local


def test_too_many_connections_are_closed():
    class Slots(threading.BoundedSemaphore):
        freed = threading.Event()

        def release(self, n=1):
            super().release(n)
            self.freed.set()

    for server in serving(DemoServer(predictor(), "127.0.0.1", 0)):
        server.slots = Slots(1)
        # connections are accepted in the order in which they were made
        with socket.create_connection(("127.0.0.1", server.port)) as held:
            held.sendall(b"GET ")
            with socket.create_connection(("127.0.0.1", server.port), timeout=300) as refused:
                assert refused.recv(10) == b""
        assert server.slots.freed.wait(300)
        assert ask(server, "GET", "/")[0] == 200
    assert module._CONNECTIONS > 8  # a browser opens six


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from segfoundry.modeling.build_model import build_model
    from segfoundry.modeling.seem.config import tiny
    from segfoundry.trainer.run_folder.checkpoints import write_weights
    from segfoundry.utils.config.dump import dump
    from segfoundry.utils.config.engine import load_mapping
    from segfoundry.utils.structures.category import Category

    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    categories = [Category(1, "sky", False, (70, 130, 180)), Category(2, "cup", True, (220, 20, 60))]
    resolved = load_mapping({**tiny(), "DEVICE": "cpu", "MODEL.ENCODER.NUM_CLASSES": 2})
    about = {"config": dump(resolved), "categories": [vars(c) for c in categories]}
    write_weights(path, build_model(resolved.cfg, categories).state_dict(), about)
    return path


@pytest.mark.slow
def test_the_verb_serves_until_it_is_ended(weights, tmp_path):
    command = [sys.executable, str(ROOT / "entry.py"), "demo", "--weights", str(weights), "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        url = re.fullmatch(r"page at http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", line)
        assert url, line + process.stderr.read()
        running = type("Running", (), {"port": int(url[1])})
        assert b"<title>Segfoundry</title>" in ask(running, "GET", "/")[2]
        about = json.loads(ask(running, "GET", "/api/model")[2])
        assert about["weights"] == "model.safetensors" and about["prompts"] == ["stroke", "text"]
        key = opened(running)["id"]
        status, state = act(running, key, action="prompt", prompts=[{"box": [1, 1, 30, 30]}])
        assert status == 200 and state["objects"][0]["mask"]["size"] == [48, 64]
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0 and "ended" in process.stderr.read()
    finally:
        process.kill()
        process.wait()


def test_the_verb_refuses_what_cannot_work(weights, server, capsys):
    for words, text in (
        (["--port", str(server.port)], f"cannot listen on 127.0.0.1, port {server.port}"),
        (["--port", "70000"], "--port 70000"),
        (["--images", "0"], "--images 0"),
        (["--max-pixels", "0"], "expected a number above 0"),
        (["--weights", "absent.pt"], "absent.pt"),
    ):
        assert main(["demo", "--weights", str(weights), *words]) == 2
        error = capsys.readouterr().err
        assert text in error and "Traceback" not in error


def test_label_files_of_many_objects(tmp_path):
    from segfoundry.trainer.demo.open_images import OpenImage

    ready = predictor()
    opened_image = OpenImage("a", picture(), ready.interactive(picture()))
    for _ in range(3):
        opened_image.act({"action": "prompt", "prompts": [{"point": [12, 24]}]})
        opened_image.act({"action": "new"})
    (tmp_path / "a.png").write_bytes(opened_image.mask_png(None))
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), 3 * square(0))


def test_bodies_that_nest_without_end_and_categories_that_are_no_text(server):
    status, _, reply = ask(server, "POST", "/api/images?name=a.png", png(picture()))
    key = json.loads(reply)["id"]
    for what, body, message in (
        ("actions", b"[" * 5000, "expected a JSON object (lists and mappings inside each other"),
        ("actions", b'{"action": "text", "text": "\\ud800"}', "expected a JSON object (a text holds \\ud800"),
        ("everything", b'{"categories": []}', "expected a text of at most"),
        ("everything", b'{"categories": false}', "expected a text of at most"),
    ):
        status, _, reply = ask(server, "POST", f"/api/images/{key}/{what}", body)
        assert status == 400 and json.loads(reply)["error"].startswith(message)
