"""A legacy server that takes a first message which is not `initialize` in one of the odd ways that were seen.

    odd.py exit | hang | ignore | invalid-params

`exit` ends, `hang` never reads again, `ignore` does not answer it, `invalid-params` answers with -32602. Each start leaves a
line in the file that STARTS names.
"""

import json
import os
import sys
import threading


def main(way: str) -> None:
    if starts := os.environ.get("STARTS"):
        with open(starts, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
    initialized = False
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message.get("method"), message.get("params") or {}
        if "id" not in message:
            continue
        if method == "initialize":
            initialized = True
        elif not initialized:
            if way == "exit":
                sys.exit(1)
            if way == "hang":
                threading.Event().wait()
            if way == "invalid-params":
                say(message, error={"code": -32602, "message": "Invalid request parameters", "data": ""})
            continue
        answer(message, method, params)


def answer(message: dict, method: str, params: dict) -> None:
    if method == "initialize":
        version = min(params["protocolVersion"], "2025-11-25")
        info = {"name": "odd", "version": "1"}
        say(message, result={"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("era", "pid")]
        say(message, result={"tools": tools})
    elif method == "tools/call":
        text = "legacy" if params["name"] == "era" else str(os.getpid())
        say(message, result={"content": [{"type": "text", "text": text}]})
    elif method == "ping":
        say(message, result={})
    else:
        say(message, error={"code": -32601, "message": "Method not found"})


def say(request: dict, **outcome) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
