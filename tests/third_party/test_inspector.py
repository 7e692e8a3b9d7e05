"""The MCP Inspector's command line against mcp-mux, over both transports."""

import json
import os
import subprocess

import pytest

import mux
import sdk

INSPECTOR = mux.HERE / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"


@pytest.fixture(scope="module")
def server():
    with mux.running(mux.notes_server()) as running:
        yield running


@pytest.fixture
def inspect(server, transport, tmp_path):
    def run(*arguments: str) -> dict:
        command = [mux.node(), str(INSPECTOR), "--cli", server.url(transport), "--transport", transport, *arguments]
        # It writes below the home directory; not below ours.
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=3 * sdk.DEADLINE, env={**os.environ, "HOME": str(tmp_path)}
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_tools_list(inspect):
    assert "add_note" in {tool["name"] for tool in inspect("--method", "tools/list")["tools"]}


def test_tools_call(inspect):
    result = inspect("--method", "tools/call", "--tool-name", "echo", "--tool-arg", "value=hello")
    assert result["structuredContent"] == {"value": "hello"}


def test_resources_and_prompts(inspect):
    resource = inspect("--method", "resources/read", "--uri", "note:///Welcome")
    assert resource["contents"][0]["text"].startswith("This notebook")
    prompt = inspect("--method", "prompts/get", "--prompt-name", "summarize_note", "--prompt-args", "title=Welcome")
    assert "This notebook" in json.dumps(prompt)
