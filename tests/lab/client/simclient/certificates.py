# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Webapp's own certificate authority and server certificate, made at the first start with openssl."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
import threading

from .database import Database
from .schema import store

VALID_DAYS = 3650
PLAIN_CA_DAYS = 365  # of the CA that goes with certificates of a common name only
OLD = ("20200101000000Z", "20210101000000Z")


def _openssl(*arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def make_ca(days: int = VALID_DAYS) -> str:
    """A new CA: key and certificate in one PEM text."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = os.path.join(folder, "key"), os.path.join(folder, "cert")
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days),
            "-subj", "/O=Simulated client/CN=WhatsApp Webapp CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", key, "-out", cert,
        )  # fmt: skip
        with open(key, encoding="ascii") as first, open(cert, encoding="ascii") as second:
            return first.read() + second.read()


def certificate_part(pem: str) -> str:
    """The certificates of a PEM text, without keys."""
    return pem[pem.index("-----BEGIN CERTIFICATE") :]


def names_for(hostname: str, extra: str) -> str:
    """The subjectAltName of a server certificate."""
    names = [f"DNS:{hostname}", "DNS:localhost", "IP:127.0.0.1"]
    return ",".join(dict.fromkeys(names + [part.strip() for part in extra.split(",") if part.strip()]))


def server_context(ca: str, hostname: str, names: str, validity: tuple[str, str] | None = None) -> ssl.SSLContext:
    """A TLS server context with a certificate that this CA signed; without `names` it bears a common name only."""
    with tempfile.TemporaryDirectory() as folder:
        path = {name: os.path.join(folder, name) for name in ("ca", "key", "csr", "cert", "ext")}
        with open(path["ca"], "w", encoding="ascii") as stream:
            stream.write(ca)
        with open(path["ext"], "w", encoding="ascii") as stream:
            stream.write(f"subjectAltName={names}\n" if names else "")
            stream.write("extendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={hostname[:60]}",
            "-keyout", path["key"], "-out", path["csr"],
        )  # fmt: skip
        period = ("-not_before", validity[0], "-not_after", validity[1]) if validity else ("-days", str(VALID_DAYS))
        _openssl(
            "x509", "-req", "-in", path["csr"], "-CA", path["ca"], "-CAkey", path["ca"], "-extfile", path["ext"], *period, "-out", path["cert"],
        )  # fmt: skip
        with open(path["cert"], "a", encoding="ascii") as stream:
            stream.write(certificate_part(ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path["cert"], path["key"])
        return context


class Certificates:
    """The contexts that the Webapp serves with: the right one, and two wrong ones for the faults."""

    def __init__(self, hostname: str, extra_names: str, common_name_only: bool = False) -> None:
        self._hostname = hostname
        self._names = "" if common_name_only else names_for(hostname, extra_names)
        self._ca_days = PLAIN_CA_DAYS if common_name_only else VALID_DAYS
        self.ca = ""
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def use(self, ca: str) -> None:
        """Serve with certificates of this CA from now on."""
        right = server_context(ca, self._hostname, self._names)
        with self._lock:
            self.ca, self._contexts = ca, {"": right}

    def context(self, fault: str) -> ssl.SSLContext:
        """The context to serve with; the wrong ones are made when a fault first asks for them."""
        with self._lock:
            if fault not in self._contexts:
                wrong_name = ("elsewhere.invalid", "DNS:elsewhere.invalid")
                name, names = wrong_name if fault == "tls_wrong_name" else (self._hostname, self._names)
                self._contexts[fault] = server_context(self.ca, name, names, OLD if fault == "tls_expired" else None)
            return self._contexts[fault]

    def from_file(self, path: str) -> None:
        """Use the CA in a file of the container, making it when it is not there."""
        try:
            with open(path, encoding="ascii") as stream:
                ca = stream.read()
        except OSError:
            ca = make_ca(self._ca_days)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(
                    path, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)
                ) as stream:
                    stream.write(ca)
            except OSError:
                pass
        self.use(ca)

    def from_database(self, database: Database) -> None:
        """Use the CA that all Webapps of this deployment share; the first one stores its own. Raises DatabaseError."""
        with database.session(store("web")) as session:
            ignore, conflict = ("", " ON CONFLICT DO NOTHING") if session.engine == "PGSQL" else (" IGNORE", "")
            session.execute(f"INSERT{ignore} INTO certificates (name, pem) VALUES ('ca', %s){conflict}", (self.ca,))
            stored = str(session.value("SELECT pem FROM certificates WHERE name = 'ca'"))
        if stored != self.ca:
            self.use(stored)
