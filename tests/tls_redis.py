"""A Redis that speaks TLS only, and the certificates of a CA of the tests' own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.redis_server import RedisServer
from tests.servers import ServiceMissing, free_port, plain_environment


def find_tls_redis_server(folder: Path) -> Path:
    """Return a redis-server that was built with TLS, which that of a wheel is not; ServiceMissing without one.

    Debian's redis-tools has the server's program under another name: it goes by the name that it is called by.
    """
    candidates = [shutil.which("redis-server")]
    if found := shutil.which("redis-check-rdb"):
        link = folder / "redis-server"
        link.symlink_to(found)
        candidates.append(str(link))
    for candidate in filter(None, candidates):
        # It says whether it looks for the file, and ends in any case.
        command = [str(candidate), "--port", "0", "--tls-port", "1"]
        for name in ("cert", "key", "ca-cert"):
            command += [f"--tls-{name}-file", "/nowhere"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False, cwd=folder, env=plain_environment()
        )
        if "Failed to load certificate" in done.stdout:
            return Path(candidate)
    raise ServiceMissing("no redis-server with TLS: apt-get install redis-tools (or a redis-server of your own)")


class Certificates:
    """A CA, and what it has signed: ``server`` (for localhost) and ``client``. ``other_ca`` has signed nothing."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            raise ServiceMissing("no openssl to make certificates with: apt-get install openssl")
        self.folder = folder
        for name in ("ca", "other_ca"):
            self._make(name, "-x509", "-days", "2")
        for name in ("server", "client"):
            self._make(name, "-x509", "-days", "2", "-CA", str(self.cert("ca")), "-CAkey", str(self.key("ca")))

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def _make(self, name: str, *options: str) -> None:
        leaf = [] if name.endswith("ca") else ["-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(
            [
                *("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=tests {name}"),
                *("-addext", "subjectAltName=DNS:localhost", *leaf, *options),
                *("-keyout", str(self.key(name)), "-out", str(self.cert(name))),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


class TlsRedis(RedisServer):
    """A Redis with a port for TLS and no other; ``clients`` must show a certificate of the CA."""

    def __init__(self, *, clients: bool = True) -> None:
        self.own_folder = Path(tempfile.mkdtemp(prefix="tls-"))
        self.certificates = Certificates(self.own_folder)
        self.tls_port = free_port()
        super().__init__(
            tcp=False,
            executable=find_tls_redis_server(self.own_folder),
            options={
                "tls-port": str(self.tls_port),
                "tls-cert-file": str(self.certificates.cert("server")),
                "tls-key-file": str(self.certificates.key("server")),
                "tls-ca-cert-file": str(self.certificates.cert("ca")),
                "tls-auth-clients": "yes" if clients else "no",
            },
        )

    def tls_url(self, host: str = "localhost", *, ca: str | None = "ca", client: str | None = "client") -> str:
        """Return ``rediss://…`` with the files of these certificates in its query."""
        query = [f"ssl_ca_certs={self.certificates.cert(ca)}"] if ca else []
        if client:
            query += [
                f"ssl_certfile={self.certificates.cert(client)}",
                f"ssl_keyfile={self.certificates.key(client)}",
            ]
        return f"rediss://{host}:{self.tls_port}/0?{'&'.join(query)}"

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.own_folder, ignore_errors=True)
