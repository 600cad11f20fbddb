#!/bin/bash
# SPDX-License-Identifier: MIT
# Mail by SMTP with STARTTLS: smtp-starttls.bash HOST PORT FROM TO <MESSAGE. The dialogue begins in the clear on
# descriptor 3; after STARTTLS the same dialogue goes on through `data`, on 3 again.
set -euo pipefail
host=$1 port=$2 from=$3 to=$4 tls=${TLSFS:-/run/tls}

hear() {  # a reply, which may have several lines, with the code that is expected
    local line
    while read -r line <&3; do
        [[ $line == "$1"* ]] || { echo "the server said: $line" >&2; exit 1; }
        [[ $line == ???-* ]] || return 0
    done
    echo 'the server hung up' >&2; exit 1
}
say() { printf '%s\r\n' "$1" >&3; }

exec 3<>"/dev/tcp/$host/$port"
hear 220; say "EHLO ${HOSTNAME:-localhost}"; hear 250
say STARTTLS; hear 220
exec 4<>"$tls/clone"; read -r n <&4
[ -z "${CA:-}" ] || cat "$CA" >"$tls/$n/ca"
printf 'fd 3\nclient %s\n' "$host" >&4 || { grep Error "$tls/$n/status" >&2; exit 98; }
exec 3<>"$tls/$n/data"
say "EHLO ${HOSTNAME:-localhost}"; hear 250
say "MAIL FROM:<$from>"; hear 250
say "RCPT TO:<$to>"; hear 250
say DATA; hear 354
sed -e 's/\r*$/\r/' -e 's/^\./../' >&3  # lines end in CRLF, and a dot at the beginning is doubled
say .; hear 250
say QUIT; hear 221
