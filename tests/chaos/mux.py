"""One running mcp-mux with a server behind it, and what /proc says of both. Nothing is killed but what was started here."""

import os
import re
import select
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

START_DEADLINE = 30.0
STOP_DEADLINE = 40.0
MARK = "STARTED_BY_CHAOS_TEST"


class Mux:
    """Started when made; `folder` is where the server and this leave their files."""

    def __init__(self, flags, server, folder):
        self.folder = folder
        self.log_path = os.path.join(self.folder, "log")
        self.mark = uuid.uuid4().hex
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [binary(), "--port", "0", *flags, "--", *server],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, MARK: self.mark},
                # By the session the guard is found, which has no environment.
                start_new_session=True,
            )
        try:
            self.port = self._port()
        except BaseException:
            self.sweep()
            raise

    def _port(self):
        deadline, printed = time.monotonic() + START_DEADLINE, b""
        while printed.count(b"\n") < 2:
            left = max(deadline - time.monotonic(), 0)
            ready = select.select([self.process.stdout], [], [], left)[0]
            data = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not data:
                raise RuntimeError(f"mcp-mux printed no two URLs, but {printed!r}; its log:\n{self.tail()}")
            printed += data
        return int(re.search(rb"http://127\.0\.0\.1:(\d+)/", printed).group(1))

    @property
    def pid(self):
        return self.process.pid

    def resident(self):
        """Bytes of memory that are its own or shared and present now (0 when it is gone)."""
        found = re.search(r"VmRSS:\s+(\d+) kB", _read(f"/proc/{self.pid}/status"))
        return int(found.group(1)) * 1024 if found else 0

    def resident_peak(self):
        """The most that ever were."""
        found = re.search(r"VmHWM:\s+(\d+) kB", _read(f"/proc/{self.pid}/status"))
        return int(found.group(1)) * 1024 if found else 0

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def servers(self):
        """The pids of its children that run the server's own program: neither the guard nor one that is just being
        started in mcp-mux's own executable."""
        own = _executable(self.pid)
        children = (pid for pid, (_, parent, *_) in processes().items() if parent == self.pid)
        return [pid for pid in children if _executable(pid) not in (None, own)]

    def left(self):
        """Every process that came of it and lives: those of its session, and those with its mark, wherever they are."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for pid, (state, _, _, session) in processes().items():
            marked = mark in _bytes(f"/proc/{pid}/environ").split(b"\0")
            if state not in "ZX" and (session == self.pid or marked):
                found.append(pid)
        return found

    def gone_within(self, seconds):
        """Waits until no process of it is left; returns those that are, and how long it took."""
        began = time.monotonic()
        while (left := self.left()) and time.monotonic() - began < seconds:
            time.sleep(0.05)
        return left, time.monotonic() - began

    def stop(self):
        """SIGTERM; returns the exit code, None where it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def sweep(self):
        """Whatever happened: nothing of it stays."""
        if self.process.poll() is None:
            self.kill()
        self.gone_within(5)
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.stdout.close()

    def forget(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_lines(self):
        with open(self.log_path, "rb") as log:
            yield from log

    def tail(self, lines=15):
        return b"".join(list(self.log_lines())[-lines:]).decode(errors="replace")


def stop_as_ctrl_c_does():
    """So that a SIGTERM to the test ends it with what it started, too."""

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def binary():
    """The program under test."""
    path = os.environ.get("MCP_MUX_BIN")
    if not path:
        raise SystemExit("set MCP_MUX_BIN to the mcp-mux binary")
    return path


def processes():
    """pid -> (state, parent, group, session) of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # The second field, the command's name in brackets, may itself hold spaces and brackets.
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if fields:
                found[int(name)] = (fields[0], *map(int, fields[1:4]))
    return found


def busy_ticks(pid):
    """The processor time a process has used, in ticks."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def _executable(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def _bytes(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _read(path):
    return _bytes(path).decode(errors="replace")
