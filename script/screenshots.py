# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the pictures of the page of the fleet in docs/images, of 40 made-up deployments, with Debian's Chromium."""

from __future__ import annotations

import pathlib
import sys
import tempfile

from ansible.plugins.loader import init_plugin_loader

ROOT = pathlib.Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests" / "support"))
init_plugin_loader([str(ROOT / ".lab" / "collections")])

import fleets  # noqa: E402 - needs the path above
from browser import Browser, Page  # noqa: E402 - needs the path above

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_page as fleet_page  # noqa: E402 - needs the loader

DEPLOYMENTS, HOURS = 40, 48


def main() -> None:
    fleet = fleets.mixed(DEPLOYMENTS, hostile=False)
    html = fleet_page.page(fleet, fleets.history(DEPLOYMENTS, HOURS, hostile=False), (), fleets.NOW)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        path = pathlib.Path(folder) / "fleet.html"
        path.write_text(html, encoding="utf-8")
        clock = fleets.NOW + 600
        Page(browser, path, clock=clock, height=760).screenshot(IMAGES / "fleet.png")
        page = Page(browser, path, clock=clock, dark=True, height=920)
        page.evaluate("document.querySelector('.drifted details').open = true")
        page.evaluate("document.querySelector('.client.drifted').scrollIntoView()")
        page.screenshot(IMAGES / "fleet-details-dark.png")


if __name__ == "__main__":
    main()
