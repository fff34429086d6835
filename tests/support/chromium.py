"""Headless Chromium, driven through its debugging pipe (Chrome DevTools Protocol): no packages needed.

The protocol: https://chromedevtools.github.io/devtools-protocol/; messages are JSON texts that end with a zero byte.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

DEADLINE = 300  # seconds after which something is taken to hang: far more than a busy machine needs
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium reads commands from file descriptor 3 and writes to 4; this puts our pipes there.
_LAUNCHER = """
import os, sys
read, write = (os.dup(int(number)) for number in sys.argv[1:3])
high = [os.dup(fd) for fd in (read, write)]
while min(high) < 5:
    high = [os.dup(fd) for fd in high]
os.dup2(high[0], 3); os.dup2(high[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
# Where the middle of an element is, null while it cannot be clicked. Until pressed() is called, which tells whether the
# element was clicked, the page does not hear of presses beside it.
_AIM = """(selector) => {
  const element = document.querySelector(selector);
  if (!element || element.matches(":disabled")) return null;
  element.scrollIntoView({ block: "nearest" });
  const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
  if (!element.contains(document.elementFromPoint(x, y))) return null;
  const events = ["pointerdown", "mousedown", "pointerup", "mouseup", "click"];
  let hit = false;
  const guard = (event) => {
    if (!event.composedPath().includes(element)) { event.stopImmediatePropagation(); event.preventDefault(); }
    else if (event.type === "click") hit = true;
  };
  for (const name of events) addEventListener(name, guard, true);
  window.pressed = () => {
    for (const name of events) removeEventListener(name, guard, true);
    return hit;
  };
  return [x, y];
}"""
# Whether the canvas has the size of its place: right after loading it still gets it, and the image is fitted anew then.
_FITTED = """(() => {
  const { canvas } = segfoundry.view, box = canvas.getBoundingClientRect(), ratio = devicePixelRatio;
  return canvas.width === Math.round(box.width * ratio) && canvas.height === Math.round(box.height * ratio);
})()"""


def find():
    """Returns the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def browser(folder):
    """Starts Chromium with a profile in a folder; gives a function that opens a page.

    Names are not resolved, so nothing beyond the numeric addresses of this machine can be reached.
    """
    to_read, our_write = os.pipe()
    our_read, to_write = os.pipe()
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    options += ("--remote-debugging-pipe", f"--user-data-dir={folder}", "--window-size=1280,860", "--hide-scrollbars")
    options += ("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--disable-background-networking")
    command = [sys.executable, "-c", _LAUNCHER, str(to_read), str(to_write), find(), *options]
    process = subprocess.Popen(
        command, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_write)
    try:
        pipe = Pipe(our_read, our_write)
        yield lambda url: Page(pipe, url)
    finally:
        os.close(our_write)  # Chromium ends with its pipe
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(our_read)


class Pipe:
    """Commands to the browser and its messages, for all tabs."""

    def __init__(self, read, write):
        self._read, self._write = read, write
        self._data = b""
        self._number = 0
        self.pages = {}

    def send(self, method, parameters, session):
        """Sends a command; returns its result. Pages take note of what happens meanwhile."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._write, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if answer.get("sessionId") in self.pages:
                self.pages[answer["sessionId"]].notice(answer)

    def _next(self):
        while b"\0" not in self._data:
            if not select.select([self._read], [], [], DEADLINE)[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._data += part
        message, self._data = self._data.split(b"\0", 1)
        return json.loads(message)


class Page:
    """One tab, in front of those opened before."""

    def __init__(self, pipe, url):
        self._pipe = pipe
        self._session = None
        self.requests = []
        self.errors = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        pipe.pages[self._session] = self
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")
        self.send("Page.bringToFront")
        self.send("Page.navigate", url=url)

    def send(self, method, **parameters):
        """Sends a command; returns its result."""
        return self._pipe.send(method, parameters, self._session)

    def notice(self, event):
        """Keeps what a tab has asked for and what went wrong in it."""
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(event["params"]["exceptionDetails"])
        elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(event["params"]["entry"]["text"])

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression):
        """Waits until a JavaScript expression is true."""
        # before its scripts have run, the page has nothing to ask for
        tolerant = f"(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()"
        self._until(lambda: self.evaluate(tolerant), f"{expression} stays false")

    def _until(self, condition, complaint):
        end = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > end:
                error = self.evaluate("document.getElementById('error')?.textContent")
                raise TimeoutError(f"{complaint}; the page says: {error}; {self.errors}")
            time.sleep(0.02)

    def resize(self, width, height):
        """Gives the page a window of this size."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def choose_file(self, selector, path):
        """Puts a file into an input element."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def mouse(self, *path, button="left"):
        """Presses a button at the first place (x, y) of the window, moves along the others, and lets it go."""
        common = {"button": button, "clickCount": 1}
        held = {"left": 1, "right": 2, "middle": 4}[button]
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=path[0][0], y=path[0][1], buttons=held, **common)
        for x, y in path[1:]:
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=held, **common)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=path[-1][0], y=path[-1][1], **common)

    def draw(self, *pixels, button="left"):
        """Presses a button at the first pixel (x, y) of the shown image, moves along the others, and lets it go."""
        self.send("Page.bringToFront")  # a tab behind another one is not laid out
        self.wait(_FITTED)
        self.mouse(
            *self.evaluate(
                f"{json.dumps(pixels)}.map(([x, y]) => {{"
                " const v = segfoundry.view, b = v.canvas.getBoundingClientRect(), r = b.width / v.canvas.width;"
                " return [b.x + (x * v.scale + v.left) * r, b.y + (y * v.scale + v.top) * r]; })"
            ),
            button=button,
        )

    def click(self, selector):
        """Clicks the middle of an element with the mouse, as soon as it can be clicked; again if it has moved away."""
        self._until(lambda: self._press(selector), f"{selector} cannot be clicked")

    def _press(self, selector):
        place = self.evaluate(f"({_AIM})({json.dumps(selector)})")
        if place is None:
            return False
        self.mouse(place)
        return self.evaluate("pressed()")

    def type(self, text):
        """Types into the focused element."""
        self.send("Input.insertText", text=text)

    def key(self, key):
        """Presses a key."""
        code = {"Enter": 13}.get(key)
        extra = {"text": "\r", "windowsVirtualKeyCode": code} if code else {"text": key}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **extra)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path):
        """Saves what the page looks like as a PNG file."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
