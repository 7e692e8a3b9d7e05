"""The test that mcp-mux exists for: six clients of two SDKs over two transports on one child, and nothing crosses.

    MCP_MUX_BIN=… .venv/bin/python isolation/driver.py [python|typescript]

The argument names the SDK whose three clients speak HTTP+SSE; the three of the other speak Streamable HTTP. Without it,
both combinations run one after the other. `ROUNDS` (200) says how often, `SEED` makes the Python side's choices repeatable.

A round is: all six subscribe to a resource of their own (ids and progress tokens of all six are the same numbers from here
on) · all make the same eleven kinds of calls at once: short, long and large answers, two with progress, one that fails,
one that logs at every level, one whose resource updates go to three subscribers' lists, one that asks its client something
back (three of the six, each another kind of question; the rest cannot be asked), two that are cancelled · one client,
alone, checks what only then is certain: that its log messages arrive at its level, that a question nobody can answer is
refused, that nobody hears of what was unsubscribed. The six log levels are distinct at all times.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from queue import Empty, Queue

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import mux  # noqa: E402

LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
COMMAND_DEADLINE = 120
SDKS = {"python": [sys.executable, str(HERE / "worker.py")], "typescript": [mux.node(), str(HERE / "worker.mjs")]}


class Crossed(AssertionError):
    """Something reached a client that was not its own, or did not reach the one whose it was."""


class Worker:
    """A worker process: one line in, one line out."""

    def __init__(self, sdk, setup):
        self.names = setup["names"]
        self.process = subprocess.Popen(
            [*SDKS[sdk], json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.sdk, self.replies, self.errors = sdk, Queue(), []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.replies.put(json.loads(line))
        self.replies.put(None)

    def tell(self, **command):
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `hear` says what happened.

    def hear(self):
        try:
            reply = self.replies.get(timeout=COMMAND_DEADLINE)
        except Empty:
            reply = None
        if reply is None:
            errors = "".join(self.errors)[-3000:]
            raise Crossed(f"the {self.sdk} clients {self.names} stopped answering the driver:\n{errors}")
        return reply

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def isolation(sse_sdk, rounds, seed=None):
    """Run the test and give the counts of what was sent and received; raise `Crossed` with an account of the first round
    in which anything was wrong."""
    seed = seed if seed is not None else random.randrange(10**6)
    other_sdk = next(sdk for sdk in SDKS if sdk != sse_sdk)
    sse_names, http_names = ["ann", "bob", "cas"], ["dan", "eve", "fay"]
    everyone = sse_names + http_names
    # One client of the six for each kind of question, so that there is never more than one who could be meant. Which
    # client that is depends on the combination, so each kind is asked over each transport.
    asked = ("ann", "dan", "eve") if sse_sdk == "python" else ("fay", "cas", "bob")
    roles = dict(zip(asked, ("sampling", "elicitation", "roots"), strict=True))
    with mux.running([sys.executable, str(HERE / "server.py")]) as running:
        setups = [(sse_sdk, "sse", running.sse_url, sse_names), (other_sdk, "http", running.mcp_url, http_names)]
        workers = []
        try:
            for sdk, transport, url, names in setups:
                setup = {"url": url, "transport": transport, "names": names}
                workers.append(Worker(sdk, {**setup, "everyone": everyone, "roles": roles, "seed": seed}))
            return _rounds(workers, everyone, roles, rounds, seed)
        finally:
            for worker in workers:
                worker.stop()


def _rounds(workers, everyone, roles, rounds, seed):
    where = "while connecting"

    def hear(listening=workers):
        replies = [worker.hear() for worker in listening]
        violations = [violation for reply in replies for violation in reply["violations"]]
        if violations:
            shown = "\n  ".join(violations[:12])
            raise Crossed(f"{len(violations)} violations {where} (seed {seed}, roles {roles}):\n  {shown}")
        return {name: id for reply in replies for name, id in reply["next"].items()}, replies

    def all_do(**command):
        for worker in workers:
            worker.tell(**command)
        return hear()

    # A session without a level gets everything, so the first levels are there before the first round.
    levels = {}
    shared = Counter({name: 0 for name in everyone})
    ids, _ = hear()

    def solo(number, name):
        worker = next(worker for worker in workers if name in worker.names)
        free = [level for level in LEVELS if level not in levels.values()]
        levels[name] = free[number % len(free)]
        worker.tell(do="solo", round=number, who=name, level=levels[name])
        next_ids, _ = hear([worker])
        ids.update(next_ids)
        # The touch of the solo turn: everybody else is subscribed to the shared resource then.
        shared.update(other for other in everyone if other != name)

    for number, name in enumerate(everyone):
        where = f"in the solo turn of {name} before the first round"
        solo(-len(everyone) + number, name)
    for number in range(rounds):
        where = f"in round {number} of {rounds}, subscribing"
        ids, _ = all_do(do="subscribe", round=number, id=max(ids.values()))
        _all_equal(ids, where)
        where = f"in round {number} of {rounds}, all at once"
        shared.update({name: len(everyone) for name in everyone})
        ids, _ = all_do(do="run", round=number, shared=shared)
        _all_equal(ids, where)
        name = everyone[number % len(everyone)]
        where = f"in round {number} of {rounds}, the solo turn of {name}"
        solo(number, name)
    where = "at the end"
    _, replies = all_do(do="finish", shared=shared)
    total = Counter()
    for reply in replies:
        for name, counts in reply["counts"].items():
            questions = rounds if name in roles else 0
            if (counts.get("cancelled", 0), counts.get("questions", 0)) != (2 * rounds, questions):
                raise Crossed(f"{name} did not do its part: {counts}")
            total.update({what: count for what, count in counts.items() if what != "highest id"})
    return dict(total)


def _all_equal(ids, where):
    """The premise of the test: all clients use the same JSON-RPC ids, and so the same progress tokens."""
    if len(set(ids.values())) != 1:
        raise Crossed(f"the clients' next ids differ {where}: {ids}")


def main():
    rounds = int(os.environ.get("ROUNDS", "200"))
    failed = False
    for sse_sdk in sys.argv[1:] or SDKS:
        began = time.monotonic()
        try:
            counts = isolation(sse_sdk, rounds, os.environ.get("SEED"))
        except Crossed as crossed:
            print(f"FAILED, {sse_sdk} over SSE: {crossed}")
            failed = True
        else:
            print(f"passed, {sse_sdk} over SSE, {rounds} rounds, {time.monotonic() - began:.0f} s: {counts}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
