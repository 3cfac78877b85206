# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers are the client's: by repository, by the vendor's program, or by name with evidence; never by name alone."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import client_containers
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import ClientImages, Facts

OWN = ClientImages.of(
    {"web": "registry.lab:5000/ops/wa-webapp", "coreapp": ["registry.lab:5000/ops/wa-core", "acme/core"]}
)
SWAPPED = ClientImages.of({"web": "r.lab/ops/coreapp", "coreapp": "r.lab/ops/web"})
VENDOR = ClientImages()
START = "/opt/whatsapp/bin/wait_on_mysql.sh /opt/whatsapp/bin/launch_within_docker.sh"
IMAGE_START = "/bin/sh -c 'cd /opt/whatsapp/bin && ./launch_within_docker.sh'"
MEDIA = ["/usr/local/wamedia"]

# images, image, command, mounts, variables, whether it is the client's
CASES: list[tuple[ClientImages, str, str, list[str], list[str] | None, bool | None]] = [
    # The vendor's image names alone are no evidence.
    (VENDOR, "web:1.0", "nginx -g 'daemon off;'", [], ["PATH"], False),
    (VENDOR, "web:1.0", "nginx -g 'daemon off;'", [], None, None),
    (VENDOR, "acme/coreapp", "run", ["/data"], ["DB_HOST"], False),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", START, [], None, True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", IMAGE_START, [], None, True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "sh", MEDIA, None, True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "sh", ["/usr/local/wamedia/incoming"], None, True),
    (VENDOR, "r.lab/whatsapp/coreapp@sha256:00", "sh", ["/usr/local/waent/data"], None, True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "sh", ["/usr/local/wamedia2"], None, None),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "sh", [], ["PATH", "WA_DB_HOSTNAME"], True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "sh", [], ["WACORE_HOSTNAME"], True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "/opt/whatsapp/bin/cleanup.sh", [], None, True),
    (VENDOR, "r.lab/whatsapp/web:v2.53.4", "sh -c 'ls /opt/whatsapp'", [], None, True),
    # The vendor's program is sufficient evidence, whatever the image's name.
    (VENDOR, "r.lab/ops/wa-webapp:7", START, [], None, True),
    (VENDOR, "sha256:" + "0" * 64, IMAGE_START, [], None, True),
    # Sidecars may have db.env or the media, or run the cleanup.
    (VENDOR, "exporter:1", "run", MEDIA, ["WA_DB_HOSTNAME", "WA_DB_ENGINE"], False),
    (VENDOR, "docker:cli", "sh -c 'docker exec biz-wacore-1 /opt/whatsapp/bin/cleanup.sh'", [], None, False),
    # If repositories are configured, only the full repository counts, not its last component.
    (OWN, "registry.lab:5000/ops/wa-webapp:v2", "sh", [], None, True),
    (OWN, "registry.lab:5000/ops/wa-core@sha256:00", "sh", [], None, True),
    (OWN, "docker.io/acme/core:v1", "sh", [], None, True),
    (OWN, "registry.lab/ops/wa-core:v1", "sh", [], ["PATH"], False),
    (OWN, "web:1.0", "nginx", [], ["PATH"], False),
    # A container created before the registry moved is recognised by its content.
    (OWN, "old.lab/whatsapp/wa-core:v1", "sh", MEDIA, None, True),
    (OWN, "old.lab/whatsapp/coreapp:v1", "sh", [], ["WA_DB_ENGINE"], True),
]


@pytest.mark.parametrize(("images", "image", "command", "mounts", "variables", "client"), CASES)
def test_which_containers_are_the_clients(
    images: ClientImages,
    image: str,
    command: str,
    mounts: list[str],
    variables: list[str] | None,
    client: bool | None,
) -> None:
    assert client_containers.is_client(Facts(image, command, mounts, variables), images) is client


@pytest.mark.parametrize(
    ("images", "image", "environment", "kind"),
    [
        (VENDOR, "r.lab/web:v1", {}, "web"),
        (VENDOR, "r.lab/coreapp:v1", {"WEBAPP_HOSTNAME": "x"}, "coreapp"),
        (OWN, "registry.lab:5000/ops/wa-webapp@sha256:00", {}, "web"),
        (OWN, "old.lab/wa-core", {}, "coreapp"),
        (SWAPPED, "r.lab/ops/web:v1", {}, "coreapp"),
        (SWAPPED, "r.lab/ops/coreapp:v1", {}, "web"),
        (VENDOR, "r.lab/ops/wa-webapp", {"WACORE_HOSTNAME": "wacore"}, "web"),
        (VENDOR, "r.lab/ops/wa-core", {"COREAPP_HOSTNAME": "wacore"}, "coreapp"),
        (VENDOR, "r.lab/ops/any", {}, "coreapp"),
    ],
)
def test_the_kind_of_a_client_container(
    images: ClientImages, image: str, environment: dict[str, str], kind: str
) -> None:
    assert client_containers.kind(image, images, environment) == kind


TEXT = st.text("abw:/@.-e0 ", max_size=20) | st.sampled_from(["web", "r/web", "coreapp:1", "r:5/coreapp@sha256:0"])


@given(image=TEXT, command=TEXT, mounts=st.lists(TEXT, max_size=3))
def test_a_container_without_evidence_is_not_the_clients(image: str, command: str, mounts: list[str]) -> None:
    for images in (VENDOR, OWN):
        assert not client_containers.is_client(Facts(image, command, mounts, ["PATH", "HOME"]), images)


@given(image=TEXT, variables=st.lists(st.sampled_from(["WA_DB_ENGINE", "PATH"]), max_size=2), extra=st.booleans())
def test_additional_evidence_never_changes_the_answer_to_no(image: str, variables: list[str], extra: bool) -> None:
    before = client_containers.is_client(Facts(image, "sh", [], variables), VENDOR)
    after = client_containers.is_client(Facts(image, START if extra else "sh", MEDIA, variables), VENDOR)
    assert bool(after) >= bool(before)


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        ({"web": "r.lab/web:v1"}, r"client_images.web: 'r.lab/web:v1' has a tag or a digest.*Write r.lab/web"),
        ({"core": "r.lab/web"}, "the key 'core'; expected web and coreapp"),
        ({"web": "r.lab/x", "coreapp": ["r.lab/x"]}, "r.lab/x for web and for coreapp"),
        ("r.lab/x", "expected a repository for web"),
        ({"web": "Web"}, "no image repository"),
    ],
)
def test_invalid_client_images_are_refused(configured: t.Any, message: str) -> None:
    with pytest.raises(WaError, match=message):
        ClientImages.of(configured)


@pytest.mark.parametrize(
    ("configured", "registry", "images"),
    [
        (None, "r.lab:5000/wa", {"web": "r.lab:5000/wa/web", "coreapp": "r.lab:5000/wa/coreapp"}),
        ({"web": "acme/web", "coreapp": "docker.io/acme/core"}, "", {"web": "acme/web", "coreapp": "acme/core"}),
        ({"web": "acme/web"}, "r.lab", {"web": "acme/web", "coreapp": "r.lab/coreapp"}),
        (None, "acme", {"web": "acme/web", "coreapp": "acme/coreapp"}),
        (None, "localhost", {"web": "localhost/web", "coreapp": "localhost/coreapp"}),
    ],
)
def test_repositories_of_the_images(configured: dict[str, str] | None, registry: str, images: dict[str, str]) -> None:
    assert client_containers.repositories(configured, registry) == images


def test_repositories_as_they_are_written() -> None:
    configured = {"web": "docker.io/acme/web", "coreapp": ["docker.io/acme/core"]}
    assert client_containers.written_repositories(configured, "") == {
        "web": "docker.io/acme/web",
        "coreapp": "acme/core",
    }
    assert client_containers.written_repositories(None, "docker.io/acme") == {
        "web": "docker.io/acme/web",
        "coreapp": "docker.io/acme/coreapp",
    }


def test_a_missing_registry_is_an_error() -> None:
    with pytest.raises(
        WaError, match=r"wa_registry: not set; expected where the image web is pulled from\. Set it, or wa_images"
    ):
        client_containers.repositories(None, "")
