#!/bin/bash
# SPDX-License-Identifier: MIT
# HTTPS from bash alone: https-get.bash HOST [PORT [PATH]]. With CA=FILE, trusts that in place of the machine's roots.
set -euo pipefail
host=$1 port=${2:-443} path=${3:-/} tls=${TLSFS:-/run/tls}

exec 3<>"/dev/tcp/$host/$port"                          # the stream in the clear
exec 4<>"$tls/clone"; read -r n <&4                     # a connection, and its number
[ -z "${CA:-}" ] || cat "$CA" >"$tls/$n/ca"
printf 'fd 3\nclient %s\n' "$host" >&4 ||               # the handshake: when this returns, it is done
    { grep Error "$tls/$n/status" >&2; exit 98; }
exec 3>&- 5<>"$tls/$n/data"                             # the stream as it should be
printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" >&5
cat <&5
