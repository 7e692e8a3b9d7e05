"""Certificates made with the openssl command: authorities, and what they issue."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 30.0
SERVER = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth"
CLIENT = "extendedKeyUsage=clientAuth"


@dataclass
class Issued:
    certificate: Path
    key: Path

    def serial(self) -> str:
        return openssl("x509", "-in", self.certificate, "-noout", "-serial").removeprefix("serial=").strip()


@dataclass
class Authority:
    """A certificate authority in a folder of its own."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        put = ["-keyout", self.key, "-out", self.certificate]
        openssl("req", "-x509", *NEW_KEY, *put, "-days", 2, "-subj", f"/CN={self.name}")

    def issue(self, subject: str, extensions: str, days: int = 2) -> Issued:
        number = len(list(self.folder.glob("*.csr")))
        stem = self.folder / str(number)
        certificate, key, request = (stem.with_suffix(suffix) for suffix in (".pem", ".key", ".csr"))
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", subject)
        with_extensions = stem.with_suffix(".ext")
        with_extensions.write_text(extensions)
        signed_by = ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", days]
        openssl("x509", "-req", "-in", request, *signed_by, "-extfile", with_extensions, "-out", certificate)
        return Issued(certificate, key)


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*arguments) -> str:
    words = ["openssl", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
