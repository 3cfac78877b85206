# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificates: an authority, one certificate for the database servers, one for a client."""

from __future__ import annotations

import io
import tarfile

from .model import ENGINES, Lab, write_private
from .shell import Shell
from .yard import FOLDER_LABEL, LAB_LABEL

FILES = ("ca.pem", "server.pem", "server-key.pem", "client.pem", "client-key.pem")
# Runs in a container of the base image, since the controller need not have openssl.
SCRIPT = """
set -eu
cd /tmp
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
signed() {  # NAME SUBJECT EXTENSIONS
    key "$1-key.pem"
    openssl req -new -key "$1-key.pem" -subj "$2" -out "$1.csr"
    printf '%s\\n' "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.pem"
}
{
    key ca-key.pem
    openssl req -x509 -new -key ca-key.pem -subj "/CN=lab authority" -days 3650 -out ca.pem
    signed server /CN=mariadb.lab 'subjectAltName=NAMES,DNS:localhost,IP:127.0.0.1'
    signed client /CN=whatsapp 'extendedKeyUsage=clientAuth'
} >&2
tar -cf - ca.pem server.pem server-key.pem client.pem client-key.pem
""".replace("NAMES", ",".join(f"DNS:{engine}.lab" for engine in ENGINES))


def ensure(lab: Lab, shell: Shell, image: str) -> None:
    """Make the lab's certificates, unless all are there."""
    if all((lab.tls / name).is_file() for name in FILES):
        return
    labels = ["--label", f"{LAB_LABEL}={lab.name}", "--label", f"{FOLDER_LABEL}={lab.folder}"]
    command = [
        "docker",
        "run",
        "--rm",
        "--interactive",
        "--network",
        "none",
        "--name",
        lab.called("pki"),
        *labels,
        image,
        "sh",
        "-s",
    ]
    shell.run(["docker", "rm", "--force", lab.called("pki")], check=False)
    made = shell.run(command, stdin=SCRIPT.encode()).stdout
    lab.tls.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        for name in FILES:
            member = tar.extractfile(name)
            if member is not None:
                write_private(lab.tls / name, member.read().decode("ascii"))


def for_server(lab: Lab) -> tuple[tuple[str, bytes], ...]:
    """The files that a database server's container gets."""
    return tuple(
        (f"/lab/tls/{name}", (lab.tls / name).read_bytes()) for name in ("ca.pem", "server.pem", "server-key.pem")
    )
