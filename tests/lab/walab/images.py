# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's images: their inputs, a tag that is a hash of the inputs, and building what is missing.

Nothing is pulled: the base is made by mmdebstrap from Debian packages, the rest are Dockerfiles on top of it.
The tag changes with any input (package list, files, build arguments, the parent's tag), so a second run finds all
of them, and a change rebuilds just what depends on it.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import progress, ready
from .model import COMPOSES, ENGINES, FLAVOURS, RELEASES, SUITE, Host, locked, product
from .shell import LabError, Shell

HERE = Path(__file__).resolve().parent.parent
# The base of the client's images too, which every lab host pulls, so it contains only what the client needs.
PACKAGES = (
    "ca-certificates",
    "gzip",
    "netcat-openbsd",
    "openssl",
    "procps",
    "python3",
    "python3-psycopg2",
    "python3-pymysql",
)
STALE = 'Acquire::Check-Valid-Until "false"'  # a mirror may hold an older state of sid
UNWANTED = ("doc", "info", "locale", "man", "lintian", "linda")
NEEDED_BYTES = 5 * 1024**3
BUILD_LABEL = "walab.build"
SCRATCH = "walab-build-"  # followed by our process id: folders and containers of a running build


def expires_on(today: datetime.date) -> str:
    """The day on which a client built in this month expires: the last day of the month that lies 180 days ahead.

    A client lives about 180 days; the month's end keeps the image, and all that is cached on it, for a month.
    """
    ahead = today + datetime.timedelta(days=180)
    next_month = (ahead.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
    return (next_month - datetime.timedelta(days=1)).isoformat()


def context_tar(folder: Path) -> bytes:
    """A build context without files that tools leave behind; the same bytes for the same files on any day."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if any(part.startswith(".") or part == "__pycache__" for part in relative.parts) or path.is_dir():
                continue
            info = tarfile.TarInfo(relative.as_posix())
            info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            content = path.read_bytes()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@dataclass(frozen=True)
class Image:
    """One image: its name, its parent images and its build context.

    The files are read once: what is built is what the tag was made from, even when they change meanwhile.
    """

    name: str
    parents: tuple[Image, ...] = ()
    folder: Path | None = None
    target: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    recipe: tuple[str, ...] = ()

    @cached_property
    def context(self) -> bytes:
        """The build context."""
        return context_tar(self.folder) if self.folder else b""

    @cached_property
    def tag(self) -> str:
        """Repository and tag; the tag is a hash of all inputs."""
        parts = [self.name, self.target, json.dumps(self.arguments), json.dumps(self.recipe)]
        parts += [parent.tag for parent in self.parents]
        digest = hashlib.sha256("\0".join(parts).encode() + self.context)
        return f"walab/{self.name}:{digest.hexdigest()[:12]}"


def other_suite(suite: str) -> Image:
    """The base of hosts and servers with another Debian suite than the default."""
    return Image(f"apt-{suite}", (Image(f"debian-{suite}", recipe=(suite, *PACKAGES, *UNWANTED)),), HERE / "images/apt")


# Releases with Docker's client in docker.io and without a package of the Compose plugin.
WITHOUT_PLUGIN = ("bookworm", "bullseye")


def hosts_of(release: str, apt: Image) -> dict[str, Image]:
    """The hosts of a Debian release by flavour.

    One Dockerfile, each flavour a stage on top of the one before: in this order, the builder's cache serves.
    """
    if release == "bullseye":
        apt = Image("base-bullseye", (apt,), HERE / "images/bullseye")
    hosts: dict[str, Image] = {}
    for flavour in ("host", "ready"):
        name = flavour if release == SUITE else f"{flavour}-{release}"
        arguments = (("DOCKER", "docker.io"),) if release in WITHOUT_PLUGIN else ()
        hosts[flavour] = Image(name, (apt, *list(hosts.values())[-1:]), HERE / "images/host", flavour, arguments)
    return hosts


def version_of(engine: str) -> tuple[tuple[str, str], ...]:
    """The build argument of a database server whose name contains a version."""
    _product, _sign, version = engine.partition("-")
    return (("VERSION", version),) if version else ()


class Catalogue:
    """All images that a lab may need, for a set of client versions and their expiry dates."""

    def __init__(self, versions: Sequence[tuple[str, str]]) -> None:
        # The base of all images.
        self.debian = Image("debian", recipe=(SUITE, *PACKAGES, *UNWANTED))
        # The base of hosts and servers: with package lists, without database drivers.
        self.apt = Image("apt", (self.debian,), HERE / "images/apt")
        self.apts = {release: self.apt if release == SUITE else other_suite(release) for release in RELEASES}
        self.hosts = {release: hosts_of(release, apt) for release, apt in self.apts.items()}
        servers = {
            name: Image(name, (self.apts[suite],), HERE / "images" / product(name), arguments=version_of(name))
            for name, suite in ENGINES.items()
        }
        servers["registry"] = Image("registry", (self.apt,), HERE / "images/registry")
        # The default hosts by flavour, database servers, and the registry.
        self.machines = {**self.hosts[SUITE], **servers}
        # The servers as their makers' images are, for what starts an empty one of its own.
        self.vendors = {
            name: Image(
                f"vendor-{name}",
                (servers[name],),
                HERE / "images/vendor",
                arguments=(("PORT", "5432" if product(name) == "postgres" else "3306"),),
            )
            for name in ENGINES
        }
        # Hosts of other releases.
        self.others = {
            f"{flavour}-{release}": self.host(Host("", flavour, release=release))
            for release in RELEASES
            for flavour in FLAVOURS
            if release != SUITE
        }
        # Fault switches and webhook receiver.
        self.control = Image("control", (self.debian,), HERE / "control")
        # The client's images by their names in the registry.
        self.clients = {
            f"whatsapp/{role}:v{version}": Image(
                f"client-{role}",
                (self.debian,),
                HERE / "client",
                arguments=(("VERSION", version), ("EXPIRES_ON", expires), ("ROLE", role)),
            )
            for version, expires in versions
            for role in ("coreapp", "web")
        }
        # The registry that contains the client's images.
        self.store = Image("store", (self.machines["registry"], *self.clients.values()), recipe=tuple(self.clients))

    def host(self, host: Host) -> Image:
        """The image of a host, with another first process or version of the Compose plugin than its release's own if given."""
        image = self._with_compose(host)
        return Image(f"{image.name}-{host.init}", (image,), HERE / "images" / host.init) if host.init else image

    def _with_compose(self, host: Host) -> Image:
        image = self.hosts[host.release][host.flavour]
        compose = host.compose
        if not compose and host.release in WITHOUT_PLUGIN:
            compose = next(version for version, release in COMPOSES.items() if release == SUITE)
        if not compose or COMPOSES[compose] == host.release:
            return image
        source = self.apts[COMPOSES[compose]]
        arguments = (("SOURCE", source.tag), ("VERSION", compose.partition("-")[2]))
        return Image(f"{image.name}-{compose}", (image, source), HERE / "images/compose", arguments=arguments)

    def by_name(self) -> dict[str, Image]:
        """All images by name; the client's images by their names in the registry."""
        plain = (self.debian, self.apt, self.control, self.store)
        named = {image.name: image for image in (*plain, *self.vendors.values())}
        return {**named, **self.machines, **self.others, **self.clients}


class Builder:
    """Builds missing images, each once, in parallel where no image is the parent of another."""

    def __init__(self, shell: Shell, catalogue: Catalogue, folder: Path) -> None:
        self.shell = shell
        self.catalogue = catalogue
        self.folder = folder
        self._jobs: dict[str, Future[None]] = {}

    def present(self) -> set[str]:
        """Tags of the lab's images that Docker has."""
        listed = self.shell.text(
            ["docker", "image", "ls", "--filter", "reference=walab/*", "--format", "{{.Repository}}:{{.Tag}}"]
        )
        return set(listed.split())

    def ensure(self, wanted: list[Image]) -> None:
        """Build the missing ones of the wanted images and of their parents; one build at a time in a repository."""
        if {image.tag for image in wanted} <= self.present():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder.parent, self.shell.pause, why="another run builds the lab's images: waiting for it"):
            present = self.present()  # the other run may have built ours
            plan: dict[str, Image] = {}
            for image in wanted:
                self._collect(image, present, plan)
            if plan:
                self._check_space()
                self._run(plan)

    def _run(self, plan: dict[str, Image]) -> None:
        clean_up(self.shell, self.folder)
        try:
            with ThreadPoolExecutor(max_workers=len(plan)) as pool:
                for image in plan.values():  # parents come first, so no job waits for one without a thread
                    waits = [self._jobs[parent.tag] for parent in image.parents if parent.tag in self._jobs]
                    self._jobs[image.tag] = pool.submit(self._build, image, waits)
            for job in self._jobs.values():
                job.result()
        finally:
            self._jobs.clear()
            clean_up(Shell(self.shell.log), self.folder)  # our own shell may be interrupted and start no more children

    def _collect(self, image: Image, present: set[str], plan: dict[str, Image]) -> None:
        if image.tag in present or image.tag in plan:
            return
        for parent in image.parents:
            self._collect(parent, present, plan)
        plan[image.tag] = image

    def _build(self, image: Image, parents: list[Future[None]]) -> None:
        for job in parents:
            job.result()
        makers: dict[str, Callable[[Image], None]] = {"debian": self._bootstrap, "store": self._fill_store}
        label = f"image {image.name}"
        if image.name.startswith("client-"):
            label += f" {dict(image.arguments)['VERSION']}"
        with progress.step(label, "built"):
            makers.get(image.name.partition("-")[0], self._dockerfile)(image)

    def _log(self, image: Image) -> Path:
        path = self.folder / f"{image.tag.split('/')[1].replace(':', '-')}.log"
        path.write_bytes(b"")
        return path

    def _bootstrap(self, image: Image) -> None:
        """Create the base file system from Debian packages and import it into Docker."""
        if os.geteuid() != 0 and shutil.which("newuidmap") is None:
            raise LabError(
                "unpacking Debian packages takes root, or the package uidmap: run `tests/lab/lab images` as root once, or install that"
            )
        # Several may be built at once, one for each release.
        own = f"{SCRATCH}{os.getpid()}-{image.recipe[0]}"
        scratch = self.folder / own
        scratch.mkdir(exist_ok=True)
        # Memory is faster, but the unpacked system has 350 MB; a small machine uses the disk.
        fast = Path("/dev/shm")
        roomy = fast.is_dir() and os.access(fast, os.W_OK) and shutil.disk_usage(fast).free > 2 * 1024**3
        unpack = fast / own if roomy else scratch
        unpack.mkdir(exist_ok=True)
        tar = scratch / "debian.tar"
        options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNWANTED]
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options]
        try:
            self.shell.run(
                [*command, "--dpkgopt=force-unsafe-io", f"--aptopt={STALE}", image.recipe[0], str(tar)],
                env={"TMPDIR": str(unpack)},
                log=self._log(image),
            )
            self.shell.run(["docker", "import", "--change", f"LABEL {BUILD_LABEL}=1", str(tar), image.tag])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(unpack, ignore_errors=True)

    def _dockerfile(self, image: Image) -> None:
        """Build a Dockerfile with the classic builder, which needs no plugin."""
        if image.folder is None or not (image.folder / "Dockerfile").is_file():
            raise LabError(f"{image.folder}/Dockerfile does not exist")
        arguments = [("BASE", image.parents[0].tag), *image.arguments]
        command = ["docker", "build", "--force-rm", "--tag", image.tag]
        for name, value in arguments:
            command += ["--build-arg", f"{name}={value}"]
        if image.target:
            command += ["--target", image.target]
        self.shell.run([*command, "-"], stdin=image.context, env={"DOCKER_BUILDKIT": "0"}, log=self._log(image))

    def _fill_store(self, image: Image) -> None:
        """Push the client images into a registry once, and commit that registry as an image."""
        registry, pusher = image.parents[0].tag, f"{SCRATCH}{os.getpid()}"
        self.shell.run(["docker", "run", "--detach", "--name", pusher, "--publish", "127.0.0.1::5000", registry])
        port = self.shell.text(["docker", "port", pusher, "5000/tcp"]).splitlines()[0].rsplit(":", 1)[1]
        log = self._log(image)
        deadline = time.monotonic() + ready.SECONDS
        while not ready.answers(f"http://127.0.0.1:{port}/v2/"):
            if time.monotonic() > deadline:
                raise LabError(f"the registry {pusher} does not answer, after {ready.SECONDS:.0f} s")
            self.shell.pause(0.1)
        for name, client in self.catalogue.clients.items():
            tag = f"127.0.0.1:{port}/{name}"
            self.shell.run(["docker", "tag", client.tag, tag])
            try:
                self.shell.run(["docker", "push", tag], log=log)
            finally:
                self.shell.run(["docker", "image", "rm", "--no-prune", tag], check=False)
        self.shell.run(["docker", "commit", pusher, image.tag])

    def _check_space(self) -> None:
        root = self.shell.text(["docker", "info", "--format", "{{.DockerRootDir}}"])
        where = next(folder for folder in (Path(root), *Path(root).parents) if folder.exists())
        free = shutil.disk_usage(where).free
        if free < NEEDED_BYTES:
            raise LabError(
                f"building the lab's images needs {NEEDED_BYTES / 1024**3:.0f} GiB in {where}, and {free / 1024**3:.1f} GiB are free; "
                "make room there (`tests/lab/lab down --images` removes the lab's own images), then run this again"
            )


def clean_up(shell: Shell, build: Path) -> None:
    """Remove leftovers of builds whose process has ended or is this one: registries for pushing, unpacked systems."""
    listed = shell.text(
        ["docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name=^{SCRATCH}"], check=False
    )
    for name in listed.split():
        if _has_ended(name):
            shell.run(["docker", "rm", "--force", "--volumes", name], check=False)
    for folder in (*Path("/dev/shm").glob(f"{SCRATCH}*"), *build.glob(f"{SCRATCH}*")):
        if _has_ended(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _has_ended(name: str) -> bool:
    owner = name[len(SCRATCH) :].partition("-")[0]
    return owner == str(os.getpid()) or not Path("/proc", owner).exists()


def remove_all(shell: Shell, folder: Path) -> int:
    """Remove every image of the lab and the leftovers of builds; return the number of removed images."""
    listed = shell.text(
        ["docker", "image", "ls", "--quiet", "--no-trunc", "--filter", f"label={BUILD_LABEL}=1"]
    ).split()
    before = set(listed)
    deadline = time.monotonic() + 60
    # An image can be removed only after its children: repeat until no more can be removed.
    while listed and time.monotonic() < deadline:
        shell.run(["docker", "image", "rm", "--force", *listed], check=False)
        left = shell.text(
            ["docker", "image", "ls", "--quiet", "--no-trunc", "--filter", f"label={BUILD_LABEL}=1"]
        ).split()
        if left == listed:
            break
        listed = left
    shutil.rmtree(folder, ignore_errors=True)
    return len(before - set(listed))
