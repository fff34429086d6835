"""The HTTP server of the page: fixed routes, no file of the machine behind any of them.

The page and its scripts are read once at start; a request's path is never turned into a file name. Answers carry a
content security policy that keeps the page from loading or sending anything elsewhere. On a loopback address only
requests under that address' own names are answered (a foreign web page could otherwise point its own name here), and
nothing that another site's page asks for.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ...modeling.promptable import prompt_kinds
from ...utils.errors import DataError, UserError
from ...utils.image_io import decode_image
from ...utils.json_text import parse_json
from ...utils.logging import get_logger
from ..prediction.predictor import Predictor
from .open_images import NoImageError, OpenImages, unasked_task

log = get_logger(__name__)

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MAX_JSON = 1_000_000
_CONNECTIONS = 32
_LENGTH_DIGITS = 15
_IMAGE_ROUTE = re.compile(r"/api/images/([\w-]{1,64})/(state|actions|everything|close|picture|mask\.png|result\.json)")


@dataclass(frozen=True)
class DemoLimits:
    """What the page accepts.

    Attributes:
        upload: bytes of an image file.
        pixels: of an image.
        images: open at once.
        idle_seconds: after which an image may be closed.
    """

    upload: int = 40_000_000
    pixels: int = 50_000_000
    images: int = 8
    idle_seconds: float = 1800.0


@dataclass(frozen=True)
class Reply:
    """An answer: its body, media type, status, and the name to save it under."""

    body: bytes
    media: str = "application/json"
    status: int = HTTPStatus.OK
    save_as: str = ""


class RequestError(Exception):
    """A request that is refused: status and text."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class DemoServer(ThreadingHTTPServer):
    """Serves the page until ``shutdown``; one pass of the network at a time.

    Args:
        predictor: the network.
        host: address to listen on.
        port: port; 0: any free one (``url`` tells).
        limits: what is accepted.

    Raises:
        OSError: the address cannot be used.
    """

    daemon_threads = True
    request_queue_size = 2 * _CONNECTIONS
    allow_reuse_address = True

    def __init__(self, predictor: Predictor, host: str, port: int, limits: DemoLimits | None = None) -> None:
        self.predictor = predictor
        self.limits = limits or DemoLimits()
        self.images = OpenImages(predictor, self.limits.images, self.limits.idle_seconds)
        self.working = threading.Lock()
        self.files = {f"/{p.name}": Reply(p.read_bytes(), _TYPES[p.suffix]) for p in sorted(_STATIC.iterdir())}
        self.files["/"] = self.files.pop("/index.html")
        self.slots = threading.BoundedSemaphore(_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.host, self.port = host, self.server_address[1]
        self.local = is_loopback(host)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{_bracketed(self.host)}:{self.port}/"

    def accepts_host(self, header: str) -> bool:
        """Whether a request's Host header is one of ours; any, when other machines are meant to reach us."""
        names = {f"{_bracketed(self.host)}:{self.port}", *(f"{n}:{self.port}" for n in ("localhost", "127.0.0.1"))}
        return not self.local or header.lower() in names | {f"[::1]:{self.port}"}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own; closes the connection when too many are open already."""
        if not self.slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Frees the place of a connection when it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no news."""
        log.debug("connection broken", exc_info=True)

    def about(self) -> dict[str, Any]:
        """Returns what the page must know before an image is loaded."""
        predictor, task = self.predictor, unasked_task(self.predictor)
        return {
            "model": predictor.cfg.MODEL.NAME,
            "weights": predictor.source.name,
            "prompts": sorted(prompt_kinds(predictor.model)),
            "finds": task and {"name": task.name, "by_category": task.by_category},
            "categories": [{"name": c.name, "color": c.color} for c in predictor.categories],
            "limits": {"upload": self.limits.upload, "pixels": self.limits.pixels},
        }


class Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with it."""

    server: DemoServer
    server_version = "segfoundry"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:  # noqa: N802 (the base class names it)
        """Answers a request for a file or a result."""
        self._answer(self._get)

    def do_POST(self) -> None:  # noqa: N802
        """Answers an upload or an action."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps requests out of the terminal unless debugging."""
        log.debug("%s %s", self.address_string(), format % args)

    def _answer(self, act: Callable[[str, dict[str, list[str]]], Reply]) -> None:
        try:
            address = urlsplit(self.path)
            self._check_origin(address.path)
            reply = act(address.path, parse_qs(address.query, max_num_fields=8))
        except RequestError as error:
            reply = _error(str(error), error.status)
        except NoImageError as error:
            reply = _error(str(error), HTTPStatus.NOT_FOUND)
        except UserError as error:
            reply = _error(str(error), HTTPStatus.BAD_REQUEST)
        except ValueError as error:
            log.debug("bad request", exc_info=True)
            reply = _error(f"bad request: {error}", HTTPStatus.BAD_REQUEST)
        except TimeoutError:
            return
        except Exception:
            log.exception("a request failed")
            reply = _error("the server failed; its terminal says why", HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(reply)

    def _check_origin(self, path: str) -> None:
        host = self.headers.get("Host", "")
        if not self.server.accepts_host(host):
            raise RequestError(HTTPStatus.FORBIDDEN, f"open the page as {self.server.url}")
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "same-origin")
        foreign = (origin is not None and origin != f"http://{host}") or site not in ("same-origin", "none")
        if path.startswith("/api/") and foreign:
            raise RequestError(HTTPStatus.FORBIDDEN, "requests of other sites are not answered")

    def _get(self, path: str, query: dict[str, list[str]]) -> Reply:
        server = self.server
        if path in server.files:
            return server.files[path]
        if path == "/api/model":
            return _json(server.about())
        key, what = self._route(path, ("state", "picture", "mask.png", "result.json"))
        with server.working:
            opened = server.images.get(key)
            stem = re.sub(r"[^\w.-]+", "_", Path(opened.name).stem)[:80] or "image"
            if what == "state":
                return _json(opened.state())
            if what == "picture":
                return Reply(opened.picture(), "image/jpeg")
            if what == "result.json":
                return Reply(_json(opened.result()).body, save_as=f"{stem}_segments.json")
            number = query.get("object", [""])[0]
            if number and not (number.isascii() and number.isdigit() and len(number) < 9):
                raise UserError("object must be a whole number, counted from 0")
            png = opened.mask_png(int(number) if number else None)
            return Reply(png, "image/png", save_as=f"{stem}_{f'object{int(number) + 1}' if number else 'objects'}.png")

    def _post(self, path: str, query: dict[str, list[str]]) -> Reply:
        server, started = self.server, time.perf_counter()
        if path == "/api/images":
            return self._open_image(query.get("name", ["image"])[0][:200])
        key, what = self._route(path, ("actions", "everything", "close"))
        request = self._json_body()
        with server.working:
            if what == "close":
                server.images.close(key)
                return _json({})
            opened = server.images.get(key)
            if what == "actions":
                answer = opened.act(request)
            else:
                answer = {"segments": opened.find_everything(server.predictor, request.get("categories", ""))}
        return _json({**answer, "seconds": time.perf_counter() - started})

    def _open_image(self, name: str) -> Reply:
        limits, started = self.server.limits, time.perf_counter()
        data = self._body(limits.upload, "this file", "--max-upload")
        with self.server.working:
            keys = self.server.predictor.cfg.INPUT
            limit = min(limits.pixels, int(keys.MAX_PIXELS))
            try:
                image = decode_image(data, name, limit, str(keys.BIT_DEPTH))
            except DataError as error:
                hint = "--max-pixels" if limit == limits.pixels else "INPUT.MAX_PIXELS"
                raise UserError(str(error).replace("INPUT.MAX_PIXELS", hint)) from error
            key, opened = self.server.images.open(name, image)
        height, width = opened.size
        return _json({"id": key, "width": width, "height": height, "seconds": time.perf_counter() - started})

    def _route(self, path: str, allowed: tuple[str, ...]) -> tuple[str, str]:
        """Returns key of the image and what is asked of it."""
        match = _IMAGE_ROUTE.fullmatch(path)
        if match is None or match[2] not in allowed:
            raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        return match[1], match[2]

    def _body(self, limit: int, what: str, option: str = "") -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= _LENGTH_DIGITS):
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is")
        if int(length) > limit:
            raised = f"; the server's option {option} raises it" if option else ""
            text = f"{what} has {int(length) / 1e6:.1f} MB, the limit is {limit / 1e6:.1f} MB{raised}"
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise RequestError(HTTPStatus.BAD_REQUEST, "the request was cut off")
        return data

    def _json_body(self) -> dict[str, Any]:
        try:
            value = parse_json(self._body(_MAX_JSON, "this request"))
        except ValueError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"expected a JSON object ({error})") from error
        if not isinstance(value, dict):
            raise RequestError(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        return value

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        charset = "; charset=utf-8" if reply.media.startswith(("text/", "application/json")) else ""
        self.send_header("Content-Type", reply.media + charset)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.save_as:
            self.send_header("Content-Disposition", f'attachment; filename="{ascii_name(reply.save_as)}"')
        self.end_headers()
        self.wfile.write(reply.body)


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def ascii_name(name: str) -> str:
    """Returns a file name for a header: other than plain letters become underscores."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _json(value: Any) -> Reply:
    return Reply(json.dumps(value, allow_nan=False).encode())


def _error(text: str, status: int) -> Reply:
    return Reply(json.dumps({"error": text}).encode(), status=status)
