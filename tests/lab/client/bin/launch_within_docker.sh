#!/bin/sh
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Prepares the log folders as root, then becomes the client's program as its own user.
set -eu
umask 022
role=$(sed -n 's/.*"role": *"\([a-z]*\)".*/\1/p' "${SIM_BUILD_FILE:-/opt/whatsapp/etc/build.json}")
if [ "$role" = web ]; then uid=${SIM_WEB_UID:-}; else uid=${SIM_CORE_UID:-}; fi
if [ "$role" = web ] && [ "${SIM_DEFAULT_COMMAND_LOOPS:-}" = 1 ]; then
    # The image's own command calls the script from its folder.
    case $0 in ./*) echo "launch: the default command does not start this version" >&2; exit 1 ;; esac
fi
uid=${uid:-${SIM_UID:-20021}}
image_uid=20021
media=/usr/local/wamedia
# The driver of the database asks for a name, and a user's number may have none in the image.
export HOME=/usr/local/waent/data USER=whatsapp
logs="/var/log/whatsapp /var/log/whatsapp/archive /usr/local/waent/logs /usr/local/waent/data"
if [ "${SIM_VENDOR_LOGS:-}" = 1 ]; then logs="$logs /var/log/lighttpd"; fi
set -- python3 -m simclient
if [ "$(id -u)" = 0 ]; then
    for folder in $logs; do
        mkdir -p "$folder"
        chown -R "$uid:$uid" "$folder" || echo "cannot hand $folder to user $uid" >&2
    done
    # Stands for an image whose media folder belongs to that user; a volume that was changed by others stays as it is.
    if [ -n "${SIM_WEB_UID:-}" ] && [ "$(stat -c %u "$media")" = "$image_uid" ]; then
        for folder in "$media" "$media/incoming" "$media/outgoing"; do
            mkdir -p "$folder"
            chown "$SIM_WEB_UID:$SIM_WEB_UID" "$folder" || echo "cannot hand $folder to user $SIM_WEB_UID" >&2
        done
    fi
    if [ "${SIM_FEW_PROGRAMS:-}" = 1 ]; then
        # bash is proven for the Webapp's image only.
        rm -f /bin/timeout /usr/bin/timeout
        if [ "$role" = coreapp ]; then rm -f /bin/bash /usr/bin/bash; fi
    fi
    set -- setpriv --reuid="$uid" --regid="$uid" --clear-groups "$@"
fi
if [ "${SIM_SHELL_STAYS:-}" = 1 ]; then
    # The program never hears of a SIGTERM to this shell: a stop takes its whole grace period and ends with 137.
    trap : TERM
    "$@"
    exit
fi
exec "$@"
