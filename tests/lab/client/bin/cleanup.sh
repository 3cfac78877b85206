#!/bin/sh
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The vendor's cure for growing logs: rotate, compress, archive, keep the newest 30 of each kind.
# Run it regularly with `docker exec`; it may be killed at any point and run again.
set -eu
umask 022
logs=${SIM_WEB_LOG_DIR:-/var/log/whatsapp}
core=${SIM_CORE_LOG_DIR:-/usr/local/waent/logs}
archive=$logs/archive
keep=30
# logrotate's 20M are MiB; so the Coreapp's 15 are read as MiB, too.
web_limit=20971520
core_limit=15728640
role=$(sed -n 's/.*"role": *"\([a-z]*\)".*/\1/p' "${SIM_BUILD_FILE:-/opt/whatsapp/etc/build.json}")

on=$(python3 -m simclient.faults cleanup_fails cleanup_hangs)
case $on in *cleanup_fails*)
    echo "cleanup: cannot write to $archive: No space left on device" >&2
    exit 1
    ;;
esac
while case $on in *cleanup_hangs*) true ;; *) false ;; esac do
    sleep 1
    on=$(python3 -m simclient.faults cleanup_hangs)
done

mkdir -p "$archive"
exec 9>"$archive/.lock"
if ! flock -n 9; then
    echo "cleanup: another cleanup is running" >&2
    exit 0
fi
rm -f "$archive"/*.part

# pack FILE NAME: compress into the archive under a name, then take the original away.
pack() {
    gzip -c "$1" > "$archive/$2.gz.part"
    touch -r "$1" "$archive/$2.gz.part"
    mv "$archive/$2.gz.part" "$archive/$2.gz"
    rm -f "$1"
    echo "cleanup: archived $1 as $archive/$2.gz"
}

# thin NAME: keep the newest archives of a log name.
thin() {
    find "$archive" -maxdepth 1 -type f -name "$1*.gz" -printf '%T@ %p\n' | sort -rn | tail -n +$((keep + 1)) | cut -d' ' -f2- |
        while IFS= read -r old; do
            rm -f "$old"
            echo "cleanup: removed $old"
        done
}

if [ "$role" = web ]; then
    for name in web access error; do
        # Left over from a run that was killed between renaming and packing.
        for rotated in "$logs/$name.log-"*; do
            if [ -f "$rotated" ]; then pack "$rotated" "${rotated##*/}"; fi
        done
        if [ -f "$logs/$name.log" ] && [ "$(stat -c %s "$logs/$name.log")" -gt "$web_limit" ]; then
            rotated="$name.log-$(date -u +%Y%m%d%H%M%S)"
            mv "$logs/$name.log" "$logs/$rotated"
            pack "$logs/$rotated" "$rotated"
        fi
        thin "$name.log"
    done
else
    own='wa-service*.log'
    if [ "${SIM_VENDOR_LOGS:-}" = 1 ]; then own='wa-service.log.*'; fi
    newest=$(find "$core" -maxdepth 1 -type f -name "$own" -printf '%f\n' | sort | tail -n 1)
    find "$core" -maxdepth 1 -type f -name "$own" -printf '%f\n' | sort |
        while IFS= read -r name; do
            if [ "$name" != "$newest" ] || [ "$(stat -c %s "$core/$name")" -gt "$core_limit" ]; then pack "$core/$name" "$name"; fi
        done
    thin wa-service
fi

# What the real one returns is unknown; Meta's own loop ignores it.
status=${SIM_CLEANUP_STATUS:-0}
if [ "$status" != 0 ]; then
    echo "cleanup: $(date -u +%FT%TZ) $role: rotation done"
    echo "logrotate_script: [: too many arguments" >&2
fi
exit "$status"
