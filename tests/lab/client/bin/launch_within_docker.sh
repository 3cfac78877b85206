#!/bin/sh
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Prepares the log folders as root, then becomes the client's program as its own user.
set -eu
umask 022
uid=${SIM_UID:-20021}
export HOME=/usr/local/waent/data
if [ "$(id -u)" = 0 ]; then
    for folder in /var/log/whatsapp /var/log/whatsapp/archive /usr/local/waent/logs /usr/local/waent/data; do
        mkdir -p "$folder"
        chown -R "$uid:$uid" "$folder" || echo "cannot hand $folder to user $uid" >&2
    done
    exec setpriv --reuid="$uid" --regid="$uid" --clear-groups python3 -m simclient
fi
exec python3 -m simclient
