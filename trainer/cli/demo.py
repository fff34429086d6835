"""``demo``: a page on this machine to click on images, with any trained network."""

from __future__ import annotations

import argparse
import sys

from .common import UsageError, add_config_arguments, add_weights_argument, check_weights, is_first_process

HELP = (
    "Serve a page on this machine: load an image, click, draw or type, see masks at once, download them. "
    "Needs no network connection and sends nothing anywhere."
)
EXAMPLES = """
  python entry.py demo --weights runs/demo
  python entry.py demo --weights seem_focalt_v1.pt --classes 'person,bicycle,road:stuff' --port 8000
"""
_MEGA = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    add_weights_argument(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than 127.0.0.1 let other machines in"
    )
    parser.add_argument("--port", type=int, default=7860, help="0: any free one (default 7860)")
    parser.add_argument(
        "--classes", metavar="NAMES", help="other category names: person,car,road:stuff (things unless :stuff)"
    )
    parser.add_argument(
        "--max-upload", type=positive, default=40.0, metavar="MB", help="largest image file (default 40)"
    )
    parser.add_argument(
        "--max-pixels", type=positive, default=50.0, metavar="MP", help="largest image in megapixels (default 50)"
    )
    parser.add_argument(
        "--images", type=int, default=8, metavar="N", help="images open at once, over all tabs (default 8)"
    )
    add_config_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Runs the verb until Ctrl-C; returns the exit code."""
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port}: expected 0 to 65535")
    if args.images < 1:
        raise UsageError(f"--images {args.images}: expected 1 or more")
    if not is_first_process():
        raise UsageError("demo runs in one process; start it without a launcher")
    check_weights(args.weights)
    from ...utils.logging import setup_logging
    from ..machine.environment import check_torch
    from ..prediction.predictor import load_predictor

    setup_logging()
    check_torch()
    predictor = load_predictor(args.weights, args.conf_files or (), args.overrides, args.config_overrides, args.classes)
    from ..demo.server import DemoLimits, DemoServer

    limits = DemoLimits(int(args.max_upload * _MEGA), int(args.max_pixels * _MEGA), args.images)
    try:
        server = DemoServer(predictor, args.host, args.port, limits)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {args.host}, port {args.port}: {error.strerror or error}; choose another --port (0: any "
            "free one) or --host"
        ) from error
    with server:
        if not server.local:
            print(
                f"warning: other machines can reach {args.host}; the page has no password and no encryption",
                file=sys.stderr,
            )
        print(f"page at {server.url} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended", file=sys.stderr)
    return 0


def positive(text: str) -> float:
    """Reads a number above 0, for ``type=``."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
    return number
