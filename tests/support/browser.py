# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens a page in Debian's Chromium, without a window, over the pipe of its DevTools protocol."""

from __future__ import annotations

import base64
import collections
import json
import os
import select
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

Message = dict[str, t.Any]
_ARGUMENTS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--remote-debugging-pipe",
        "--no-first-run",
        "--disable-gpu",
        "--hide-scrollbars",
    ),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)
_DEADLINE = 60.0  # seconds for an answer


class Browser:
    """A Chromium with a profile of its own; `with` ends it."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="wa-browser-", ignore_cleanup_errors=True)
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        # The browser reads at 3 and writes at 4.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", "chromium", *_ARGUMENTS, f"--user-data-dir={self._profile.name}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._last = b"", 0
        self._events: collections.deque[Message] = collections.deque()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(timeout=20)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._read)
            os.close(self._write)
            self._profile.cleanup()

    def call(self, method: str, session: str | None = None, **params: t.Any) -> Message:
        """The result of a method. Raises AssertionError with what the browser says about a wrong call."""
        self._last += 1
        number = self._last
        message: Message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == number:
                assert "error" not in found, f"{method}: {found['error']}"
                return t.cast(Message, found["result"])
            self._events.append(found)

    def event(self, method: str, session: str) -> Message:
        """The parameters of the next event of this name; those before it stay to be read."""
        passed: list[Message] = []
        while True:
            found = self._events.popleft() if self._events else self._receive()
            if found.get("method") == method and found.get("sessionId") == session:
                self._events.extendleft(reversed(passed))
                return t.cast(Message, found["params"])
            passed.append(found)

    def events(self, session: str) -> list[Message]:
        """The events of a page that are here."""
        return [one for one in self._events if one.get("sessionId") == session]

    def _receive(self) -> Message:
        deadline = time.monotonic() + _DEADLINE
        while b"\0" not in self._rest:
            ready, _writable, _failed = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self._read, 1 << 20) if ready else b""
            assert more, "the browser does not answer" if not ready else "the browser has ended"
            self._rest += more
        first, _end, self._rest = self._rest.partition(b"\0")
        return t.cast(Message, json.loads(first))


class Page:
    """A page in a tab of its own; `clock` is what the page takes for the present time, in seconds since 1970."""

    def __init__(
        self,
        browser: Browser,
        path: Path,
        *,
        width: int = 1000,
        height: int = 800,
        dark: bool = False,
        media: str = "",
        javascript: bool = True,
        clock: float | None = None,
    ) -> None:
        self._browser, self.url = browser, path.resolve().as_uri()
        self._context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        mobile = width < 600
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._call("Emulation.setScriptExecutionDisabled", value=not javascript)
        if clock is not None:
            self._call("Page.addScriptToEvaluateOnNewDocument", source=f"Date.now = () => {clock * 1000:.0f};")
        self._call("Page.navigate", url=self.url)
        browser.event("Page.loadEventFired", self._session)

    def close(self) -> None:
        """Closes the tab."""
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def _call(self, method: str, **params: t.Any) -> Message:
        return self._browser.call(method, self._session, **params)

    def evaluate(self, expression: str) -> t.Any:
        """The value of a JavaScript expression, which may be a promise."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """A real click in the middle of the first element that the selector names."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + Math.min(r.width / 2, 60), r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self._call("Input.insertText", text=text)

    def dialogs(self) -> int:
        """How many dialogs the page has opened."""
        return len(self._named("Page.javascriptDialogOpening"))

    def requests(self) -> list[str]:
        """The addresses that the page has asked for, without what it holds itself."""
        events = self._named("Network.requestWillBeSent")
        return [one["request"]["url"] for one in events if not one["request"]["url"].startswith("data:")]

    def errors(self) -> list[str]:
        """What the console says."""
        found = [str(one["exceptionDetails"]) for one in self._named("Runtime.exceptionThrown")]
        found += [str(one["args"]) for one in self._named("Runtime.consoleAPICalled")]
        return found + [str(one["entry"]) for one in self._named("Log.entryAdded")]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Writes what is seen as a PNG file, or the page from top to end."""
        found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _named(self, method: str) -> list[Message]:
        self.evaluate("0")  # what has happened before is here then
        return [one["params"] for one in self._browser.events(self._session) if one["method"] == method]
