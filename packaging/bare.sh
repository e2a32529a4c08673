#!/bin/sh
# Runs the program that `make app` has built where nothing else is: no Python, no shell, no library but the C library.
# What it sees beside itself are /tmp, /proc and /dev. For Linux; needs no rights. As in
#     ZEMOSAIC_PATCH_PROGRAM=packaging/bare.sh make test-browser
set -eu
PROGRAM=$(cd "$(dirname "$0")/../dist/zemosaic-patch" && pwd)
export PROGRAM
exec unshare --map-root-user --mount sh -eu -c '
    ROOT=/mnt
    mount -t tmpfs none "$ROOT"  # seen, as all below, by this process alone, and gone with it
    for FOLDER in tmp proc dev app; do mkdir "$ROOT/$FOLDER"; done
    for LIBRARY in $(ldd "$PROGRAM/zemosaic-patch" | grep -o "/[^ ]*"); do
        mkdir -p "$ROOT$(dirname "$LIBRARY")"
        cp -L "$LIBRARY" "$ROOT$LIBRARY"
        for NAME in m dl pthread rt util resolv nss_files; do  # the rest of the C library
            cp -L "$(dirname "$LIBRARY")/lib$NAME.so".[0-9] "$ROOT$(dirname "$LIBRARY")" 2>/dev/null || true
        done
    done
    mount --bind "$PROGRAM" "$ROOT/app"
    for FOLDER in tmp proc dev; do mount --rbind "/$FOLDER" "$ROOT/$FOLDER"; done
    PATH=/nowhere exec "$(command -v chroot)" "$ROOT" /app/zemosaic-patch "$@"
' bare "$@"
