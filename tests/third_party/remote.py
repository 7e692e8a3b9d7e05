"""Remote servers for `mcp-mux connect`, and a network in between that fails when it is told to.

Nothing here waits without a deadline, and nothing is killed but what was started here.
"""

import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager

import mux

START_DEADLINE = 30.0
STOP_DEADLINE = 10.0


@contextmanager
def everything(transport: str):
    """@modelcontextprotocol/server-everything over "http" or "sse": its URL."""
    port = mux.free_port()
    command = [mux.node(), mux.npm_server("server-everything"), "streamableHttp" if transport == "http" else "sse"]
    with _running(command, port, {"PORT": str(port)}):
        yield f"http://127.0.0.1:{port}/{'mcp' if transport == 'http' else 'sse'}"


@contextmanager
def fastmcp(*modes: str):
    """The official Python SDK's server; with "sse", or for Streamable HTTP with "stateless", "json", both or neither."""
    port = mux.free_port()
    with _running([*mux.fastmcp_server(), str(port), *modes], port, {}):
        yield f"http://127.0.0.1:{port}/{'sse' if 'sse' in modes else 'mcp'}"


@contextmanager
def resumable():
    """A server of the official TypeScript SDK whose streams can be resumed."""
    port = mux.free_port()
    with _running([mux.node(), str(mux.HERE / "js/resumable_server.mjs"), str(port)], port, {}):
        yield f"http://127.0.0.1:{port}/mcp"


@contextmanager
def _running(command: list[str], port: int, variables: dict[str, str]):
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + START_DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{command} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{command} does not listen"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Wire:
    """TCP connections passed on to a URL's port, until they are cut. `url` is that of its own end."""

    def __init__(self, url: str) -> None:
        self.target = int(url.split(":")[2].split("/")[0])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f":{self.target}/", f":{self.listener.getsockname()[1]}/")
        self.accepted = 0
        self.cuts = 0
        self.is_down = False
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                if self.is_down:
                    _reset(near)
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self.target), 5)
                except OSError:
                    _reset(near)
                    continue
                far.settimeout(None)
                self.accepted += 1
                self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        """Every connection is gone at once, as when a machine in between is switched off and on."""
        with self._lock:
            for end in self._open:
                _reset(end)
            self._open.clear()
            self.cuts += 1

    def down(self) -> None:
        """No connection lasts until `up`."""
        with self._lock:
            self.is_down = True
        self.cut()

    def up(self) -> None:
        with self._lock:
            self.is_down = False

    def close(self) -> None:
        self.listener.close()
        self.cut()


def _reset(end: socket.socket) -> None:
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # What `recv` waits for in another thread ends too.
        end.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    end.close()


def _pass(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def wire(url: str):
    between = Wire(url)
    try:
        yield between
    finally:
        between.close()
