"""Starts the real mcp-mux in front of a child command, and stops it: the Python side's only way to run it.

Nothing here waits without a deadline, and nothing is killed but what was started here.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
START_DEADLINE = 30.0
STOP_DEADLINE = 20.0


def node() -> str:
    return str(HERE / "node_modules/.bin/node")


def npm_server(name: str) -> str:
    return str(HERE / f"node_modules/@modelcontextprotocol/{name}/dist/index.js")


def notes_server() -> list[str]:
    return [sys.executable, str(REPOSITORY / "examples/notes_server.py")]


def fastmcp_server() -> list[str]:
    return [sys.executable, str(HERE / "fastmcp_server.py")]


def recorded(command: list[str], record: Path) -> list[str]:
    """`command`, with everything that is written to its stdin in `record` before it gets there."""
    script = 'record=$1; shift; { tee -a "$record" /dev/fd/3 >/dev/null; } 3>&1 | exec "$@"'
    return ["sh", "-c", script, "sh", str(record), *command]


def free_port() -> int:
    """One that nobody uses now, for what has to be known before mcp-mux is started."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def everything_server() -> list[str]:
    return [node(), npm_server("server-everything")]


def filesystem_server(folder: Path) -> list[str]:
    return [node(), npm_server("server-filesystem"), str(folder)]


@dataclass
class Mux:
    """One running mcp-mux: its addresses, its log so far, its process."""

    mcp_url: str
    sse_url: str
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    def url(self, transport: str) -> str:
        return self.mcp_url if transport == "http" else self.sse_url

    def children(self) -> list[int]:
        return [pid for pid, parent in _parents().items() if parent == self.process.pid]

    def descendants(self) -> list[int]:
        parents = _parents()
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def complaints(self) -> list[str]:
        """Log lines that a healthy run does not have: errors (mcp-mux's own, not its child's) and panics."""
        return [line for line in self.log if _level(line) == "ERROR" or "panicked at" in line]

    def reload(self) -> None:
        """SIGHUP: mcp-mux reads its files again."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """SIGTERM; fails unless mcp-mux ends with 0 within the deadline and leaves none of its processes behind."""
        descendants = self.descendants()
        if self.process.poll() is not None:
            raise AssertionError(f"mcp-mux ended by itself with {self.process.returncode}:\n{self.tail()}")
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"mcp-mux did not stop within {STOP_DEADLINE} s of SIGTERM:\n{self.tail()}") from None
        assert code == 0, f"mcp-mux ended with {code} after SIGTERM:\n{self.tail()}"
        left = [pid for pid in descendants if _alive(pid)]
        assert not left, f"mcp-mux ended and left processes behind: {left}"

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.log[-lines:])


@contextmanager
def running(command: list[str], *flags: str, errors_expected: bool = False):
    """mcp-mux in front of `command`, from the printed URLs to a clean stop."""
    binary = os.environ.get("MCP_MUX_BIN")
    if not binary:
        raise RuntimeError("set MCP_MUX_BIN to the mcp-mux binary")
    mux = start(binary, command, *flags)
    try:
        yield mux
    except BaseException:
        print(f"mcp-mux log:\n{mux.tail()}", file=sys.stderr)
        if mux.process.poll() is None:
            mux.process.terminate()
            try:
                mux.process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                mux.process.kill()
                mux.process.wait()
        raise
    mux.stop()
    complaints = [] if errors_expected else mux.complaints()
    assert not complaints, "mcp-mux logged errors:\n" + "\n".join(complaints[:10])


def start(binary: str, command: list[str], *flags: str) -> Mux:
    """In front of `command`; of none where the flags say what is to be served."""
    port = [] if "--port" in flags else ["--port", "0"]
    spawn = ["--spawn", shlex.join(command)] if command else []
    process = subprocess.Popen(
        [binary, *port, "--log-format", "json", *flags, *spawn],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # So that a terminal's Ctrl-C reaches mcp-mux through these tests' clean stop, not on its own.
        start_new_session=True,
    )
    log: list[str] = []
    printed: list[str] = []
    urls: list[str] = []
    both = threading.Event()

    def read_log() -> None:
        for line in process.stderr:
            log.append(line.rstrip("\n"))

    def read_urls() -> None:
        for line in process.stdout:
            printed.append(line.rstrip("\n"))
            if (url := re.search(r"https?://\S+", line)) is not None:
                urls.append(url.group())
            if len(urls) == 2:
                both.set()
        both.set()

    for reader in (read_log, read_urls):
        threading.Thread(target=reader, daemon=True).start()
    if not both.wait(START_DEADLINE) or len(urls) < 2:
        if process.poll() is None:
            process.kill()
        process.wait()
        tail = "\n".join(log[-20:])
        raise RuntimeError(f"mcp-mux printed no two URLs within {START_DEADLINE} s, but {printed}; its log:\n{tail}")
    return Mux(mcp_url=urls[0], sse_url=urls[1], process=process, log=log)


def _level(line: str) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry.get("level") if isinstance(entry, dict) else None


def _parents() -> dict[int, int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field, the command's name in brackets, may itself hold spaces and brackets.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return parents


def _alive(pid: int) -> bool:
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            # Dead; whoever inherited it has not collected it yet.
            return False
        time.sleep(0.02)
    return True
