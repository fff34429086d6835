"""Writes the picture of the page in the README (`make demo-picture`): objects by click, box, phrase and scribble.

Starts the page with trained weights, uses it in headless Chromium as a person would, and saves what it looks like.
"""

import argparse
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import chromium

from segfoundry.trainer.demo.server import DemoServer
from segfoundry.trainer.prediction.predictor import Predictor


def main() -> None:
    """Reads the options and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--click", nargs=2, type=float, metavar=("X", "Y"), action="append", default=[])
    parser.add_argument("--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"), action="append", default=[])
    parser.add_argument("--scribble", nargs="+", metavar="X,Y", action="append", default=[])
    parser.add_argument("--text", action="append", default=[])
    args = parser.parse_args()
    if chromium.find() is None:
        sys.exit("error: no Chromium is installed (Debian/Ubuntu: apt-get install chromium)")
    server = DemoServer(Predictor.from_checkpoint(args.weights), "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile, chromium.browser(profile) as open_page:
        page = open_page(server.url)
        page.wait("document.body.dataset.ready === 'true'")
        page.choose_file("#file", args.image.resolve())
        page.wait("document.body.dataset.objects === '0'")
        use(page, args)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(args.output)
    server.shutdown()
    print(args.output)


def use(page: chromium.Page, args: argparse.Namespace) -> None:
    """Makes one object of each option, in the order click, box, text, scribble."""
    ways = [("point", [tuple(point)]) for point in args.click]
    ways += [("box", [(x0, y0), (x1, y1)]) for x0, y0, x1, y1 in args.box]
    ways += [("text", text) for text in args.text]
    ways += [("scribble", [tuple(map(float, p.split(","))) for p in line]) for line in args.scribble]
    for number, (tool, what) in enumerate(ways, start=1):
        page.click("#new")
        if tool == "text":
            page.click("#text")
            page.evaluate("document.getElementById('text').select()")
            page.type(what)
            page.key("Enter")
        else:
            page.click(f"[data-tool={tool}]")
            page.draw(*what)
        page.wait(f"document.body.dataset.objects === '{number}'")


if __name__ == "__main__":
    main()
