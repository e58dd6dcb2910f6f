"""A headless Chromium, driven over its DevTools protocol on a pipe: what a page looks like to those who read it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
"""The browser; None where there is none."""
SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
SWITCHES += ("--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe", "--disable-extensions")

BOXES = """(() => {
  const boxes = [], cut = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, parent = node.parentElement;
    if (!node.data.trim() || getComputedStyle(parent).visibility === 'hidden' || !parent.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects())
      if (r.width > 1 && r.height > 1) boxes.push([r.left, r.top, r.right, r.bottom, node.data.trim().slice(0, 60)]);
  }
  for (const e of document.body.querySelectorAll('*')) {
    const style = getComputedStyle(e);
    const hides = style.overflowX !== 'visible' && e.clientWidth && e.scrollWidth > e.clientWidth + 1;
    if (hides || style.textOverflow === 'ellipsis') cut.push(e.outerHTML.slice(0, 120));
  }
  return {boxes, cut, wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
          height: document.documentElement.scrollHeight, paper: getComputedStyle(document.body).backgroundColor};
})()"""
"""Boxes of every line of text that is seen, elements that hide some of their content, and what sticks out sideways."""


class Browser:
    """One page of a running Chromium.

    Args:
        write, read: ends of its pipes; messages end with a zero byte.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._buffer, self._count = write, read, b"", 0
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command; what the page logs as an error on the way is kept in `errors`."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._count:
                assert "error" not in found, found["error"]
                return dict(found["result"])

    def show(self, page: Path, *, width: int, dark: bool) -> dict[str, Any]:
        """Open a page at a width, and give what `BOXES` sees, all `<details>` open."""
        self.errors.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        self.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        return dict(self.run(BOXES))

    def run(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        self.run(f"new Promise(r => {{ const f = () => ({condition}) ? r(1) : setTimeout(f, 10); f(); }})")

    def picture(self, path: Path, *, width: int, height: int | None = None) -> None:
        """A PNG of the page from its top."""
        whole = height or self.run("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": whole, "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser is gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if found.get("method") == "Log.entryAdded" and found["params"]["entry"]["level"] == "error":
            self.errors.append(found["params"]["entry"]["text"])
        if found.get("method") == "Runtime.exceptionThrown" or (
            found.get("method") == "Runtime.consoleAPICalled" and found["params"]["type"] in ("error", "assert")
        ):
            self.errors.append(json.dumps(found["params"]))
        return found


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, ended when done."""
    assert FOUND is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    switches = [*SWITCHES, f"--user-data-dir={profile}", "about:blank"]
    # Chromium reads descriptor 3 and writes 4.
    shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", shell, FOUND, *switches],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours_out)
        os.close(ours_in)


def overlaps(boxes: list[list[Any]], slack: float = 2.0) -> list[tuple[str, str]]:
    """Texts whose boxes lie over each other by more than `slack` pixels both ways."""
    found = []
    ordered = sorted(boxes, key=lambda b: b[1])
    for i, a in enumerate(ordered):
        for b in ordered[i + 1 :]:
            if b[1] >= a[3] - slack:
                break
            if min(a[2], b[2]) - max(a[0], b[0]) > slack and min(a[3], b[3]) - max(a[1], b[1]) > slack:
                found.append((a[4], b[4]))
    return found
