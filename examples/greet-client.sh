#!/bin/sh
# SPDX-License-Identifier: MIT
# A service that knows its clients by their certificates, and nothing of TLS:
#   tlssrv -c chain.pem -k key.pem -a clients-ca.pem -l :7000 ./greet-client.sh
read -r question
echo "$SSL_PEER_CERT_SUBJECT, you are the one with $SSL_PEER_CERT_HASH, and ask: $question"
