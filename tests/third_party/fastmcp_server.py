"""A stdio server on the official Python SDK (FastMCP): what a third-party child looks like to mcp-mux.

Every tool that takes a `marker` puts it into whatever it sends, so that a test can tell whose message it holds.
`started` and `cancelled` are long polls: they answer when the event they name has happened, so no test needs to sleep.

With arguments it is a remote server instead: `fastmcp_server.py PORT [stateless] [json]`, Streamable HTTP on /mcp; or
`fastmcp_server.py PORT sse`, HTTP+SSE on /sse.
"""

import os
import sys

import anyio
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

mcp = FastMCP("fastmcp-under-mux", instructions="A server for the tests of mcp-mux.")
marks: dict[str, anyio.Event] = {}
levels: list[str] = []


def mark(name: str) -> anyio.Event:
    return marks.setdefault(name, anyio.Event())


@mcp.tool()
def echo(value: str) -> str:
    """Give back the value as it came."""
    return value


@mcp.tool()
def add(a: int, b: int) -> int:
    """Add two integers; the result is structured content with an output schema."""
    return a + b


@mcp.tool()
def big(count: int) -> str:
    """A text of this many characters."""
    return "x" * count


@mcp.tool()
def fail(marker: str) -> str:
    """Raise, which the SDK turns into a result with isError."""
    raise ValueError(f"failed on purpose: {marker}")


@mcp.tool()
def exit_process(code: int) -> str:
    """End this process at once, without a word."""
    os._exit(code)


@mcp.tool()
async def progress(marker: str, steps: int, ctx: Context) -> str:
    """Report each step, the marker in the progress message."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"{marker} {step}")
        await anyio.sleep(0.02)
    return marker


@mcp.tool()
async def hang(marker: str, ctx: Context) -> str:
    """Work that ends only when it is cancelled."""
    mark(f"started {marker}").set()
    try:
        await ctx.report_progress(1, None, marker)
        await anyio.sleep_forever()
    finally:
        mark(f"cancelled {marker}").set()
    return marker


@mcp.tool()
async def started(marker: str) -> bool:
    """Answer once `hang` with this marker runs."""
    await mark(f"started {marker}").wait()
    return True


@mcp.tool()
async def cancelled(marker: str) -> bool:
    """Answer once `hang` with this marker was cancelled."""
    await mark(f"cancelled {marker}").wait()
    return True


@mcp.tool()
async def sample(marker: str, ctx: Context) -> str:
    """Ask the caller's model, give back what it said."""
    answer = await ctx.session.create_message(
        [SamplingMessage(role="user", content=TextContent(type="text", text=marker))],
        max_tokens=64,
        # Without it the question goes to the stream of a GET, and is lost where that is not open yet.
        related_request_id=ctx.request_id,
    )
    return answer.content.text if isinstance(answer.content, TextContent) else str(answer.content)


class Confirmation(BaseModel):
    confirm: bool
    note: str = ""


@mcp.tool()
async def confirm(marker: str, ctx: Context) -> str:
    """Ask the caller's user to confirm."""
    result = await ctx.elicit(f"confirm {marker}?", Confirmation)
    return f"{result.action} {result.data.model_dump_json()}" if result.action == "accept" else result.action


@mcp.tool()
async def roots(ctx: Context) -> list[str]:
    """The caller's roots."""
    return [str(root.uri) for root in (await ctx.session.list_roots()).roots]


@mcp.tool()
async def log(marker: str, ctx: Context) -> str:
    """One log message at each of the levels FastMCP has."""
    for level in ("debug", "info", "warning", "error"):
        await ctx.log(level, f"{marker} {level}", logger_name="fastmcp-under-mux")
    return marker


@mcp.tool()
def level() -> str:
    """The log level this process was last asked for, and how often."""
    return f"{levels[-1] if levels else 'none'} {len(levels)}"


@mcp.tool()
async def announce(ctx: Context) -> str:
    """Say that the lists changed."""
    await ctx.session.send_tool_list_changed()
    await ctx.session.send_resource_list_changed()
    await ctx.session.send_prompt_list_changed()
    return "announced"


@mcp.resource("demo://greeting", mime_type="text/plain")
def greeting() -> str:
    return "hello from FastMCP"


@mcp.resource("demo://square/{n}", mime_type="text/plain")
def square(n: str) -> str:
    return str(int(n) ** 2)


@mcp.prompt()
def review(language: str, code: str) -> str:
    """Ask for a review."""
    return f"Please review this {language} code: {code}"


@mcp.completion()
async def complete(
    ref: PromptReference | ResourceTemplateReference,
    argument: CompletionArgument,
    context: CompletionContext | None,
) -> Completion | None:
    if isinstance(ref, PromptReference) and ref.name == "review" and argument.name == "language":
        known = ["python", "perl", "php", "rust"]
        return Completion(values=[name for name in known if name.startswith(argument.value)])
    return None


# FastMCP itself does not declare the logging capability; the low-level server below it does once it has a handler.
@mcp._mcp_server.set_logging_level()
async def set_level(level: str) -> None:
    levels.append(level)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        mcp.run()
    else:
        mcp.settings.port = int(sys.argv[1])
        mcp.settings.stateless_http = "stateless" in sys.argv
        mcp.settings.json_response = "json" in sys.argv
        mcp.run("sse" if "sse" in sys.argv else "streamable-http")
