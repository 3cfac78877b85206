#!/bin/sh
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Waits for the database server, then becomes the program given as arguments (the launch script when none is given).
set -u
trap 'exit 143' TERM INT
python3 -m simclient.waitdb &
waiter=$!
wait "$waiter" || exit 1
if [ "$#" -eq 0 ]; then set -- /opt/whatsapp/bin/launch_within_docker.sh; fi
exec "$@"
