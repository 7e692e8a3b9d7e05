"""A real browser (Chromium, headless) that is driven: it opens a page, is sent keys and sizes, and tells what it shows, what it
asked the network for and what it complained about.

The DevTools protocol over a pipe: no port is opened, and nothing else is needed. Every name is this machine, so nothing
leaves it.
"""

import base64
import fcntl
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import Any

DEADLINE = 60.0
COMMAND = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
KEYS = {
    "Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""),
    "ArrowLeft": (37, ""), "ArrowRight": (39, ""), "/": (191, "/"),
}  # fmt: skip


class Page:
    """One tab."""

    def __init__(self, process, to_browser: int, from_browser: int):
        self._process = process
        self._to = to_browser
        self._answers: dict[int, queue.Queue[Any]] = {}
        self._last = 0
        self._session = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        threading.Thread(target=self._read, args=(from_browser,), daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(f"{domain}.enable")

    def _read(self, source: int) -> None:
        rest = b""
        while chunk := os.read(source, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.pop(message["id"]).put(message)
            return
        method, params = message["method"], message["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        answer = self._answers[self._last] = queue.Queue()
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        outcome = answer.get(timeout=DEADLINE)
        assert "error" not in outcome, f"{method}: {outcome['error']}"
        return outcome["result"]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """What an expression comes to on the page; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str, deadline: float = DEADLINE) -> Any:
        """Waits until an expression is true on the page, and returns what it is."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        text = self.evaluate("document.body.innerText")
        raise AssertionError(f"not within {deadline} s: {expression}\nThe page says:\n{text}")

    def press(self, key: str, count: int = 1) -> None:
        """A key of the keyboard, as a person presses it."""
        code, text = KEYS[key]
        for _ in range(count):
            common = {"key": key, "windowsVirtualKeyCode": code, **({"code": key} if len(key) > 1 else {})}
            self.call("Input.dispatchKeyEvent", type="keyDown", **({"text": text} if text else {}), **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, file) -> None:
        """The whole page, to look at."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))


@contextmanager
def page():
    """A browser with one empty tab."""
    to_browser, ours_out = os.pipe()
    ours_in, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(prefix="mcp-mux-browser-", ignore_cleanup_errors=True) as profile:
        command = [
            COMMAND,
            "--headless",
            "--remote-debugging-pipe",
            # It cannot have its own where these tests run as root; the page is ours.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * 127.0.0.1",
            f"--user-data-dir={profile}",
        ]
        # The browser reads file 3 and writes file 4, whatever numbers ours have.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
        process = subprocess.Popen(
            command,
            preexec_fn=lambda: [os.dup2(end, number) for end, number in zip(high, (3, 4))],
            pass_fds=[3, 4],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in [to_browser, from_browser, *high]:
            os.close(end)
        try:
            yield Page(process, ours_out, ours_in)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(ours_out)
