# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads this user's registry logins, as stored by `docker login`; the engine needs one with each request."""

from __future__ import annotations

import base64
import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files, image_reference

_HUB = "https://index.docker.io/v1/"
_SECONDS = "10"
Run = t.Callable[..., t.Any]  # AnsibleModule.run_command


def registry_of(image: str) -> str:
    """Returns the key of an image's registry in the file of logins."""
    return image_reference.parse(image).registry or _HUB


def header(image: str, run: Run) -> dict[str, str]:
    """Returns the HTTP header with the login for an image's registry; empty without a login.

    `run` calls the credential helper if one is configured.
    """
    login = _login(registry_of(image), run)
    if not login:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


def _login(registry: str, run: Run) -> dict[str, str]:
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        config = json.loads(files.read_text(os.path.join(folder, "config.json")))
        helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
        if helper:
            return _ask(helper, registry, run)
        for key, entry in (config.get("auths") or {}).items():
            if registry in (key, key.partition("://")[2].partition("/")[0]):
                return _decoded(entry, registry)
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        pass  # the registry then reports that it requires a login
    return {}


def _ask(helper: str, registry: str, run: Run) -> dict[str, str]:
    command = ["timeout", _SECONDS, f"docker-credential-{helper}", "get"]
    _code, output, _errors = run(command, data=registry, handle_exceptions=False)
    login = json.loads(output)
    return _shape(login["Username"], login["Secret"], registry)


def _decoded(entry: t.Mapping[str, str], registry: str) -> dict[str, str]:
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"], "serveraddress": registry}
    username, _colon, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    return _shape(username, password, registry) if username else {}


def _shape(username: str, secret: str, registry: str) -> dict[str, str]:
    if username == "<token>":
        return {"identitytoken": secret, "serveraddress": registry}
    return {"username": username, "password": secret, "serveraddress": registry}
