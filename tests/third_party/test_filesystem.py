"""Python SDK client → mcp-mux → @modelcontextprotocol/server-filesystem on a temporary folder."""

import anyio
import pytest

import mux
import sdk

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files").resolve()


@pytest.fixture(scope="module")
def server(folder):
    with mux.running(mux.filesystem_server(folder)) as running:
        yield running


async def test_write_read_list(server, folder, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert str(folder) in await peer.text("list_allowed_directories")
        path = folder / f"naïve {transport} 🗂.txt"
        await peer.text("write_file", path=str(path), content="línea 1\nlínea 2\n")
        assert path.read_text() == "línea 1\nlínea 2\n"
        assert await peer.text("read_text_file", path=str(path)) == "línea 1\nlínea 2\n"
        assert f"[FILE] {path.name}" in await peer.text("list_directory", path=str(folder))


async def test_a_megabyte_file(server, folder, transport):
    text = "0123456789abcdef" * 65536
    (folder / "big.txt").write_text(text)
    async with sdk.connect(server.url(transport), transport) as peer:
        assert await peer.text("read_text_file", path=str(folder / "big.txt")) == text


async def test_many_at_once_from_both_transports(server, folder):
    for n in range(40):
        (folder / f"{n}.txt").write_text(f"file {n}")

    async with (
        sdk.connect(server.url("http"), "http") as one,
        sdk.connect(server.url("sse"), "sse") as two,
    ):

        async def read(peer, n):
            assert await peer.text("read_text_file", path=str(folder / f"{n}.txt")) == f"file {n}"

        for peer in (one, two):
            await peer.session.list_tools()
        async with anyio.create_task_group() as tasks:
            for n in range(40):
                tasks.start_soon(read, (one, two)[n % 2], n)


async def test_outside_the_folder_is_refused(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("read_text_file", {"path": "/etc/hostname"})
        assert result.isError and "denied" in result.content[0].text
