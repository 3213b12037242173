"""Certificates that openssl makes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from harness.tls import Tls


class Certificates:
    """A CA, a server's and a client's certificate by it, and a CA that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for ca in ("ca", "other"):
            self._openssl("req", "-x509", *self._new(ca), "-subj", f"/CN={ca}", "-days", "2")
        self._sign("server", "subjectAltName=IP:127.0.0.1")
        self._sign("elsewhere", "subjectAltName=IP:127.0.0.9")
        self._sign("client", "extendedKeyUsage=clientAuth")
        self.ca, self.other = self.file("ca"), self.file("other")

    def expired(self, name: str = "expired") -> str:
        """A server's, by the CA, that is valid no longer when this returns; its key is beside it."""
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        asked, said = self.file(name, "csr"), self.folder / f"{name}.ext"
        said.write_text("subjectAltName=IP:127.0.0.1\n")
        self._openssl("req", *curve, "-keyout", self.file(name, "key"), "-out", asked, "-subj", f"/CN={name}")
        signer = ["-CA", self.file("ca"), "-CAkey", self.file("ca", "key"), "-CAcreateserial"]
        at = ["-days", "0", "-extfile", str(said)]
        self._openssl("x509", "-req", "-in", asked, "-out", self.file(name), *signer, *at)
        time.sleep(1.1)  # its last second
        return self.file(name)

    def file(self, name: str, kind: str = "pem") -> str:
        return str(self.folder / f"{name}.{kind}")

    def tls(self, client: bool = False) -> Tls:
        if client:
            return Tls(ca=self.ca, certificate=self.file("client"), key=self.file("client", "key"))
        return Tls(ca=self.ca)

    def _new(self, name: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        return [*curve, "-keyout", self.file(name, "key"), "-out", self.file(name)]

    def _sign(self, name: str, extension: str) -> None:
        signer = ["-CA", self.file("ca"), "-CAkey", self.file("ca", "key")]
        self._openssl("req", "-x509", *self._new(name), *signer, "-subj", f"/CN={name}", "-addext", extension)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
