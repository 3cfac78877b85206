# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases are the client's own: all of them, not only those with a table `messages`."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils import _database
from ansible_collections.waba.onprem.plugins.module_utils._database import Session
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc_policy import own_databases


def own(prefix: str, names: t.Sequence[str], wanted: t.Sequence[str] | None) -> list[str]:
    """Those of `names` that are one client's; none when there are none yet.

    `names` begin with `prefix`. Raises WaError with the candidates when they may be two clients' and `wanted` does not
    tell which. `wanted` need not hold all: a neighbour is known by its own prefix before the name of one of them.
    """
    if not wanted:
        # Under an empty prefix several names are no doubt by themselves; another client's end like ours.
        return own_databases(prefix, names) if prefix and names else _unprefixed(names)
    missing = [name for name in wanted if name not in names]
    if missing:
        found = "not seen on the server: " + ", ".join(missing)
        raise WaError("option databases", found, "some of: " + (", ".join(names) or "(none found)"))
    neighbours = tuple(
        name[: -len(one[len(prefix) :])]
        for one in wanted
        for name in names
        if name not in wanted and len(name) > len(one) and one != prefix and name.endswith(one[len(prefix) :])
    )
    return [name for name in names if name in wanted or not name.startswith(neighbours or ("\0",))]


def _unprefixed(names: t.Sequence[str]) -> list[str]:
    if any(one != other and one.endswith(other) for one in names for other in names):
        raise WaError(
            "client's database",
            "ambiguous for an empty prefix: " + ", ".join(names),
            "the databases of one client",
            "Name this client's own in the option databases",
        )
    return list(names)


def find(session: Session, prefix: str, wanted: t.Sequence[str] | None) -> list[str]:
    """The client's own databases on the server of `session`, sorted."""
    names = _database.databases(session, prefix)
    if not prefix and session.engine == _database.PGSQL:
        # Everybody may connect to every database there; those that the client made are its user's.
        rows = session.rows("SELECT datname FROM pg_database WHERE pg_has_role(current_user, datdba, 'USAGE')")
        owned = {str(row[0]) for row in rows}
        names = [name for name in names if name in owned or name in (wanted or ())]
    return own(prefix, names, wanted)
