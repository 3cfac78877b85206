# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Galaxy's importer accepts the artifact without an error or a warning.

Left out are ansible-test, which needs a container, and ansible-lint: script/lint runs it over the same files, more strictly.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys


def test_the_importer_accepts_the_artifact(artifact: pathlib.Path, tmp_path: pathlib.Path) -> None:
    environment = dict(os.environ, GALAXY_IMPORTER_RUN_ANSIBLE_TEST="false", GALAXY_IMPORTER_RUN_ANSIBLE_LINT="false")
    done = subprocess.run(
        [sys.executable, "-m", "galaxy_importer.main", str(artifact)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    # Errors of ansible-doc and of the linters are lines of the log; the importer continues after them and ends with 0.
    assert re.findall(r"(?m)^(?:ERROR|WARNING|CRITICAL): .*", output) == []
    assert "Importer processing completed successfully" in output
    found = json.loads((tmp_path / "importer_result.json").read_text())
    assert found["requires_ansible"] == ">=2.19.0"
    documented = {one["content_name"] for one in found["docs_blob"]["contents"] if one["content_type"] == "module"}
    assert "wa_db_env" in documented
