# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the certificate that the client's API shows, whoever has signed it."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from ansible_collections.waba.onprem.plugins.module_utils._core import certificate
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError


def end(url: str, timeout: float) -> datetime:
    """Returns until when the certificate at `url` is valid. Sends no request. Raises WaError."""
    parts, subject = urlsplit(url), f"certificate of {url}"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only its date is read, and nothing is sent
    host = parts.hostname or ""
    try:
        plain = socket.create_connection((host, parts.port or 443), timeout)
        with plain, context.wrap_socket(plain, server_hostname=host) as secure:
            return certificate.ends(secure.getpeercert(binary_form=True) or b"")[0]
    except OSError as error:
        raise WaError(subject, error.strerror or str(error) or type(error).__name__) from None
    except ValueError as error:
        raise WaError(subject, str(error)) from None
