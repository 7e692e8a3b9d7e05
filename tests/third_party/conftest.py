import signal

import pytest

import sdk


def _interrupted(*_):
    raise KeyboardInterrupt


# So that run.sh's `timeout` ends the run as Ctrl-C does: with every mcp-mux stopped.
signal.signal(signal.SIGTERM, _interrupted)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=sdk.TRANSPORTS)
def transport(request):
    return request.param
