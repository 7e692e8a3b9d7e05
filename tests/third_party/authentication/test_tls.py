"""TLS as two programs see it that everybody has: curl and openssl s_client, with certificates made by openssl."""

import contextlib
import json
import shutil
import ssl
import subprocess
import threading
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.shared._httpx_utils import create_mcp_http_client

import login
import mux
import sdk
from certificates import CLIENT, SERVER, Authority

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("openssl") is None, reason="needs curl and openssl"
)
DEADLINE = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "ours", "Ours")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    # Of the same name: what tells them apart is their key.
    return Authority(tmp_path_factory.mktemp("tls") / "foreign", "Ours")


@pytest.fixture(scope="module")
def served(authority):
    return authority.issue("/CN=localhost", SERVER)


def tls(issued, *more) -> list[str]:
    return ["--tls-cert", str(issued.certificate), "--tls-key", str(issued.key), *map(str, more)]


@pytest.fixture(scope="module")
def server(served):
    with mux.running(mux.notes_server(), *tls(served)) as running:
        yield running


@pytest.fixture(scope="module")
def mutual(served, authority):
    with mux.running(mux.notes_server(), *tls(served, "--tls-client-ca", authority.certificate)) as running:
        yield running


class Answer:
    """What curl got: `code` is curl's own, the rest the last response's."""

    def __init__(self, done: subprocess.CompletedProcess):
        self.code = done.returncode
        self.body, _, told = done.stdout.rpartition("\n")
        self.status, self.http_version, self.session_id = (told.split("|") + ["", "", ""])[:3] if told else ("", "", "")
        self.error = done.stderr


def curl(url: str, authority, *options, message=None) -> Answer:
    words = ["curl", "--silent", "--show-error", "--max-time", str(DEADLINE), "--cacert", authority.certificate]
    words += ["--write-out", "\n%{http_code}|%{http_version}|%header{mcp-session-id}", *options]
    for name, value in login.HEADERS.items():
        words += ["--header", f"{name}: {value}"]
    if message is not None:
        words += ["--data-binary", json.dumps(message)]
    words = [str(word) for word in [*words, url]]
    return Answer(subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE + 5, check=False))


def as_client(issued) -> list:
    return ["--cert", issued.certificate, "--key", issued.key]


def s_client(url: str, *options) -> str:
    """What openssl says of a connection, in one text."""
    address = url.split("/")[2]
    words = ["openssl", "s_client", "-connect", address, "-servername", "localhost", *map(str, options)]
    # With HTTP/2 agreed on, the server is the first to say something, and that is no text.
    done = subprocess.run(words, input=b"", capture_output=True, timeout=DEADLINE, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_the_printed_urls_are_https_and_curl_gets_through(server, authority):
    assert server.mcp_url.startswith("https://127.0.0.1:")
    for url in [server.mcp_url, server.mcp_url.replace("127.0.0.1", "localhost")]:
        answer = curl(url, authority, message=login.initialize())
        assert (answer.code, answer.status) == (0, "200"), answer.error
        assert json.loads(answer.body)["result"]["serverInfo"]["name"] == "notes"


@pytest.mark.parametrize("version, name", [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_both_versions_of_tls_that_are_safe_are_spoken(server, authority, version, name):
    told = s_client(server.mcp_url, version, "-CAfile", authority.certificate, "-verify_return_error")
    assert f"New, {name}" in told, told
    assert "Verify return code: 0 (ok)" in told


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_gets_through_with_both(server, authority, version):
    answer = curl(server.mcp_url, authority, f"--tlsv{version}", "--tls-max", version, message=login.initialize())
    assert answer.status == "200", answer.error


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused_by_the_server(server, version):
    # The security level is what lets openssl itself speak them.
    told = s_client(server.mcp_url, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "New, (NONE)" in told, told
    # Of the server's own: protocol_version, or handshake_failure, since it knows none of the ciphers either.
    assert "SSL alert number 70" in told or "SSL alert number 40" in told, told


@pytest.mark.parametrize("ciphers", ["NULL", "RC4", "3DES", "aNULL", "EXPORT", "AES128-SHA", "ECDHE+AES+SHA1"])
def test_weak_ciphers_of_tls_1_2_are_refused(server, ciphers):
    told = s_client(server.mcp_url, "-tls1_2", "-cipher", f"{ciphers}:@SECLEVEL=0")
    assert "New, TLSv1.2" not in told, told


def test_http_2_is_agreed_on_by_alpn(server, authority):
    assert "ALPN protocol: h2" in s_client(server.mcp_url, "-alpn", "h2,http/1.1")
    assert "ALPN protocol: http/1.1" in s_client(server.mcp_url, "-alpn", "http/1.1")
    for option, version in [("--http2", "2"), ("--http1.1", "1.1"), ("--no-alpn", "1.1")]:
        answer = curl(server.mcp_url, authority, option, message=login.initialize())
        assert (answer.status, answer.http_version) == ("200", version), answer.error


def test_a_client_that_speaks_no_tls_gets_nothing(server, authority):
    answer = curl(server.mcp_url.replace("https:", "http:"), authority, message=login.initialize())
    assert answer.status in ("000", "400"), answer.status
    assert "serverInfo" not in answer.body


def test_clients_check_the_certificate_as_they_always_do(server, foreign):
    # 60: the certificate cannot be verified.
    assert curl(server.mcp_url, foreign, message=login.initialize()).code == 60


@pytest.mark.anyio
async def test_an_sdk_gets_through(server, authority, transport):
    def factory(**settings):
        client = create_mcp_http_client(**settings)
        trusting = ssl.create_default_context(cafile=str(authority.certificate))
        client._transport = type(client._transport)(verify=trusting)
        return client

    async with sdk.connect(server.url(transport), transport, httpx_client_factory=factory) as peer:
        assert await peer.text("echo", value=1) == '{"value":1}'


def test_what_is_told_of_authorization_is_told_with_https(served, authority, tmp_path):
    public = jwt.get_algorithm_by_name("ES256").to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
    keys = tmp_path / "keys.json"
    keys.write_text(f'{{"keys": [{public}]}}')
    flags = ["--jwt-issuer", "https://issuer.example", "--jwt-audience", "mcp", "--jwks-file", str(keys)]
    with mux.running(mux.notes_server(), *tls(served, *flags)) as server:
        answer = curl(server.mcp_url, authority, "--include", message=login.initialize())
        assert answer.status == "401"
        metadata = server.mcp_url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
        assert f'resource_metadata="{metadata}"' in answer.body
        assert json.loads(curl(metadata, authority).body)["resource"] == server.mcp_url


# --- Mutual TLS -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client_with_a_certificate_of_the_authority_gets_in(mutual, authority, version):
    ann = authority.issue("/CN=ann", CLIENT)
    options = ["--tlsv" + version, "--tls-max", version, *as_client(ann)]
    answer = curl(mutual.mcp_url, authority, *options, message=login.initialize())
    assert answer.status == "200", answer.error


@pytest.fixture(scope="module")
def bad_clients(authority, foreign):
    return {
        "none": [],
        "of a foreign authority": as_client(foreign.issue("/CN=ann", CLIENT)),
        "signed by itself": as_client_itself(authority, "/CN=ann"),
        "for servers": as_client(authority.issue("/CN=ann", SERVER)),
        "expired": as_client(authority.issue("/CN=ann", CLIENT, days=-1)),
    }


def as_client_itself(authority, subject: str) -> list:
    issued = Authority(authority.folder / "itself", subject.removeprefix("/CN="))
    return ["--cert", issued.certificate, "--key", issued.key]


@pytest.mark.parametrize("which", ["none", "of a foreign authority", "signed by itself", "for servers", "expired"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client_without_one_is_not_connected(mutual, authority, bad_clients, which, version):
    options = ["--tlsv" + version, "--tls-max", version, *bad_clients[which]]
    for url in [mutual.mcp_url, mutual.mcp_url.replace("/mcp", "/healthz")]:
        answer = curl(url, authority, *options, message=login.initialize() if url == mutual.mcp_url else None)
        assert answer.code != 0 and answer.status == "000", f"{answer.status} {answer.body}"


def test_where_a_certificate_is_optional_a_bad_one_is_still_refused(served, authority, bad_clients):
    flags = ["--tls-client-ca", authority.certificate, "--tls-client-auth", "optional"]
    with mux.running(mux.notes_server(), *tls(served, *flags)) as server:
        for which, options in bad_clients.items():
            answer = curl(server.mcp_url, authority, *options, message=login.initialize())
            # Without one it is served, as one that has not said who it is.
            assert answer.status == ("401" if which == "none" else "000"), which
        ann = as_client(authority.issue("/CN=ann", CLIENT))
        assert curl(server.mcp_url, authority, *ann, message=login.initialize()).status == "200"


def test_whose_certificate_opened_a_session_has_it_alone(mutual, authority):
    ann, bob = (as_client(authority.issue(f"/CN={name}", CLIENT)) for name in ["ann", "bob"])
    # The same one, renewed.
    renewed = as_client(authority.issue("/CN=ann", CLIENT))
    session = curl(mutual.mcp_url, authority, *ann, message=login.initialize()).session_id
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    more = ["--header", f"mcp-session-id: {session}", "--header", f"mcp-protocol-version: {login.REVISION}"]
    assert curl(mutual.mcp_url, authority, *bob, *more, message=ping).status == "404"
    assert curl(mutual.mcp_url, authority, *ann, *more, message=ping).status == "200"
    assert curl(mutual.mcp_url, authority, *renewed, *more, message=ping).status == "200"


# --- Other files, while mcp-mux runs ----------------------------------------------------------------------------------


class Stream:
    """An event stream that curl holds open: its lines so far."""

    def __init__(self, process):
        self.lines, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self.reader.start()

    def _read(self, process) -> None:
        for line in process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def until(self, wanted) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: any(map(wanted, self.lines)), DEADLINE), self.lines
            return next(filter(wanted, self.lines))


@contextlib.contextmanager
def event_stream(url, authority, *options):
    words = ["curl", "--silent", "--no-buffer", "--cacert", authority.certificate, *options, url]
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)
    try:
        yield Stream(process)
    finally:
        process.terminate()
        process.wait(DEADLINE)


def served_serial(url) -> str:
    shown = s_client(url, "-showcerts").partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    certificate = f"-----BEGIN CERTIFICATE-----{shown}-----END CERTIFICATE-----\n"
    words = ["openssl", "x509", "-noout", "-serial"]
    done = subprocess.run(words, input=certificate, capture_output=True, text=True, timeout=DEADLINE, check=True)
    return done.stdout.removeprefix("serial=").strip()


def until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE} s"
        time.sleep(0.05)


def test_another_certificate_is_served_after_sighup_and_open_streams_go_on(authority, tmp_path):
    first, second = (authority.issue("/CN=localhost", SERVER) for _ in range(2))
    ours, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(certificate: bytes, private: bytes) -> None:
        ours.write_bytes(certificate)
        key.write_bytes(private)

    put(first.certificate.read_bytes(), first.key.read_bytes())
    with mux.running(mux.notes_server(), "--tls-cert", str(ours), "--tls-key", str(key)) as server:
        assert served_serial(server.mcp_url) == first.serial()
        with event_stream(server.sse_url, authority) as stream:
            messages = stream.until(lambda line: line.startswith("data: ")).removeprefix("data: ")
            put(second.certificate.read_bytes(), second.key.read_bytes())
            server.reload()
            until(lambda: served_serial(server.mcp_url) == second.serial(), "the second certificate")
            posted = curl(server.sse_url.replace("/sse", messages), authority, message=login.initialize())
            assert posted.status == "202", posted.error
            stream.until(lambda line: '"serverInfo"' in line)
        # Files that cannot be used change nothing, and are told of.
        for unusable in [(second.certificate.read_bytes(), first.key.read_bytes()), (b"", b"")]:
            logged = len(server.log)
            put(*unusable)
            server.reload()
            until(lambda: any('"WARN"' in line for line in server.log[logged:]), "a warning")
            assert served_serial(server.mcp_url) == second.serial()
        put(first.certificate.read_bytes(), first.key.read_bytes())
        server.reload()
        until(lambda: served_serial(server.mcp_url) == first.serial(), "the first certificate again")


def test_another_authority_of_clients_counts_after_sighup(authority, foreign, served, tmp_path):
    ours, theirs = (as_client(one.issue("/CN=ann", CLIENT)) for one in [authority, foreign])
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(authority.certificate.read_bytes())
    with mux.running(mux.notes_server(), *tls(served, "--tls-client-ca", authorities)) as server:

        def gets_in(options) -> bool:
            return curl(server.mcp_url, authority, *options, message=login.initialize()).status == "200"

        assert gets_in(ours) and not gets_in(theirs)
        authorities.write_bytes(foreign.certificate.read_bytes())
        server.reload()
        until(lambda: gets_in(theirs), "the other authority")
        assert not gets_in(ours)
