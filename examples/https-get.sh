#!/bin/sh
# SPDX-License-Identifier: MIT
# The same in any POSIX shell, which cannot connect by itself: https-get.sh HOST [PORT [PATH]].
set -eu
host=$1 port=${2:-443} path=${3:-/} tls=${TLSFS:-/run/tls}

exec 4<>"$tls/clone"; read -r n <&4
[ -z "${CA:-}" ] || cat "$CA" >"$tls/$n/ca"
printf 'dial %s:%s\nclient\n' "$host" "$port" >&4 || { grep Error "$tls/$n/status" >&2; exit 98; }
exec 5<>"$tls/$n/data"
printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" >&5
cat <&5
