# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script of the nightly log cleanup: the job with what it imports, run without Ansible."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from commands import REPOSITORY

from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script

PACKAGE = "ansible_collections.waba.onprem.plugins.module_utils."


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "wa-log-cleanup"
    path.write_text(job_script.script())
    return path


def run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script as cron does, with an empty environment."""
    return subprocess.run(["/bin/sh", str(script), *options], env={}, capture_output=True, text=True, check=False)


def test_the_script_holds_the_files_of_the_collection(script: Path) -> None:
    """Character for character, and all that they import."""
    text = script.read_text().partition("\nSOURCES = {\n")[2].partition("\n}\n\n\nclass Sources")[0]
    sources: dict[str, str] = {}
    exec(f"sources.update({{{text}}})", {"sources": sources})
    names = [name.removeprefix(PACKAGE) for name in sources]
    assert {"_logs.job", "_logs.cleaner", "_logs.retention", "_docker.exec", "_deployment.client_containers"} < {*names}
    for name, source in zip(names, sources.values()):
        path = REPOSITORY / "plugins" / "module_utils" / (name.replace(".", "/") + ".py")
        assert source == path.read_text(), name
        assert "import ansible\n" not in source, name
        assert "from ansible." not in source, name


def test_the_script_runs_without_ansible(script: Path) -> None:
    done = run(script, "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: wa-log-cleanup [-h] -p PROJECT ")


@pytest.mark.parametrize("options", [[], ["-p"], ["-p", "x", "-t", "1h"], ["-p", "x", "-i", "{"], ["-p", "x", "y"]])
def test_invalid_options_print_the_usage(script: Path, options: list[str]) -> None:
    done = run(script, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: wa-log-cleanup ")


@pytest.mark.parametrize("tools", [{}, {"python3": "#!/bin/sh\nexit 1\n"}])
def test_a_host_without_a_usable_python_fails(script: Path, tools: dict[str, t.Any]) -> None:
    """None is found, or one that is too old."""
    folder = script.parent / "tools"
    folder.mkdir()
    for name, text in {**tools, "logger": '#!/bin/sh\necho "$@" >&2\n'}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    text = script.read_text()
    line = next(line for line in text.splitlines() if line.startswith("PATH="))
    script.write_text(text.replace(line, f"PATH={folder}"))
    done = run(script, "-p", "x")
    assert done.returncode == 3
    assert f"no Python 3.9 or newer in {folder}: nothing was cleaned" in done.stderr
