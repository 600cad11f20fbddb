# SPDX-License-Identifier: MIT
"""What the document says around its figures."""

HEAD = """
# Benchmarks

Written by `tools/bench` from its results; do not edit (the words are in tests/bench/driver/prose.py). `tools/bench`
measures everything again and writes this file; `tools/bench NAME` does one table; `tools/bench --quick` gives a first
answer in two minutes and leaves this file alone; `--also NAME=BUILD` puts another build of tlsfs beside this one.

How it is measured:

- **Same road.** All contestants talk to the same TLS endpoint (tests/bench/programs/endpoint.cc) over TCP on the loopback,
  TCP_NODELAY everywhere, with TLS 1.3, TLS_AES_256_GCM_SHA384, X25519 and a chain of three ECDSA P-256 certificates. The
  endpoint offers nothing else and checks it after each handshake; only for socat, whose one group is P-256, it takes that
  too, where no handshakes are measured. All clients verify chain and name (`--smoke` tries each with a stranger).
- **Same application.** One program (tests/bench/programs/client.cc) does the same loops over `data`, over a TCP socket to
  a proxy, or with SSL_write and SSL_read on a socket of its own ("the program"). It keeps its SSL_CTX.
- **A light endpoint.** So that it never is the bottleneck it does not decrypt what it is sent in bulk, but counts it by the
  records' headers, and it has encrypted what it sends before the clock starts. `--smoke` checks every byte.
- **In turns.** A round measures each contestant once, one after the other, in an order that rotates; a ratio is of two
  figures of the same round. Tables show medians of the rounds; ratios show median (minimum … maximum). A goal is met if
  the median meets it.
- **CPU** is that of all processes of a contestant (application, companion or proxy), from their own clocks, without the
  endpoint. Kernel threads are in nobody's figure; on the loopback nearly all of the kernel's work is done in the context of
  who sends.
- **Contestants as they come.** Sizes of buffers and numbers of threads are the programs' own defaults: socat moves 8 KiB at a
  time, haproxy and nginx 16 KiB, stunnel 16 KiB. haproxy runs a thread, nginx a process a processor. The application reaches a
  proxy over TCP; stunnel, socat, haproxy and nginx could offer a Unix socket too.
"""

NOTES = {
    "bulk": """
One connection, one direction, the application's reads or writes of the size that stands above the column. Sending ends when the
endpoint has said that it has everything.
""",
    "echo": """
One connection; the application writes a message, waits for the same bytes back, and takes the time of each round trip.
""",
}
