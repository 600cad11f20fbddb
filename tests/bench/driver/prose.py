# SPDX-License-Identifier: MIT
"""What the document says around its figures."""

HEAD = """
# Benchmarks

Written by `tools/bench` from its results; do not edit (the words are in tests/bench/driver/prose.py). `tools/bench`
measures everything again and writes this file; `tools/bench NAME` does one table; `tools/bench --quick` gives a
first answer in two minutes and leaves this file alone; `--also NAME=BUILD` puts another build of tlsfs beside this
one. Why goals are not met, what was tried, and how cost grows: [PERFORMANCE.md](PERFORMANCE.md).

How it is measured:

- **Same road.** All contestants talk to the same TLS endpoint (tests/bench/programs/endpoint.cc) over TCP on the
  loopback, TCP_NODELAY everywhere, with TLS 1.3, TLS_AES_256_GCM_SHA384, X25519 and a chain of three ECDSA P-256
  certificates. The endpoint offers nothing else and checks it after each handshake; only for socat, whose one group
  is P-256, it takes that too, where no handshakes are measured. All clients verify chain and name (`--smoke` tries
  each with a stranger).
- **Same application.** One program (tests/bench/programs/client.cc) does the same loops over `data`, over a TCP
  socket to a proxy, or with SSL_write and SSL_read on a socket of its own ("the program"). It keeps its SSL_CTX.
- **A light endpoint.** So that it never is the bottleneck it does not decrypt what it is sent in bulk, but counts
  it by the records' headers, and it has encrypted what it sends before the clock starts. `--smoke` checks every
  byte.
- **In turns.** A round measures each contestant once, one after the other, in an order that rotates; a ratio is of
  two figures of the same round. Tables show medians of the rounds; ratios show median (minimum … maximum). A goal
  is met if the median meets it.
- **CPU** is that of all processes of a contestant (application, companion or proxy), from their own clocks, without
  the endpoint. Kernel threads are in nobody's figure; on the loopback nearly all of the kernel's work is done in
  the context of who sends.
- **Contestants as they come.** Sizes of buffers and numbers of threads are the programs' own defaults: socat moves
  8 KiB at a time, haproxy and nginx 16 KiB, stunnel 16 KiB. haproxy runs a thread, nginx a process a processor. The
  application reaches a proxy over TCP; stunnel, socat, haproxy and nginx could offer a Unix socket too.
"""

NOTES = {
    "bulk": """
One connection, one direction, the application's reads or writes of the size that stands above the column. Sending
ends when the endpoint has said that it has everything.
""",
    "echo": """
One connection; the application writes a message, waits for the same bytes back, and takes the time of each round
trip.
""",
    "short": """
One HTTPS GET of 1 KiB as a whole process, from its start to its end, 200 in a row: `tlsclient` with the request on
its standard input, the README's bash example, curl, and `openssl s_client -quiet`. CPU is that of the process, of
its children, and of the companion. tlsclient and bash resume the session of the job before, from the companion's
cache, unless they are told not to; s_client does so from a file with `-sess_in`; this curl has no way to. All trust
the benchmark's root alone, except in the rows with the machine's trust store: there everybody trusts all of
Debian's authorities too, as they do when nothing else is said, which the companion has loaded once.
""",
    "handshakes": """
A connection is made, a request of 16 bytes sent, one byte received, the connection closed; over and over, by one
thread, and by eight. On the client's side the program and tlsfs connect to the endpoint, and verify it. On the
server's side a client that verifies nothing, so as to be light, connects to a server with eight threads, in which
SSL_accept, or the files, make the connection; the certificate and the key are written to each connection of tlsfs.
CPU is that of the side that is measured.
""",
    "kernel": """
A virtual machine without KVM, with one processor and a clock that counts instructions (`tests/vm/run RELEASE
--icount`): its time is the length of the path, the same at every run, and says nothing of caches or of hardware
that does AES. It is the time of both ends on one processor, the light endpoint's included. Bulk is 128 KiB at a
time. The plain kTLS socket is what a program has that does the handshake and sets the keys itself; the endpoint
sends no session tickets here, because such a socket cannot read past them. With `sendfile` the data comes from a
file in memory.
""",
    "many": """
Busy: a thread a connection sends 16 KiB, waits for one byte that says it came, and does so again; what is counted
has arrived. Idle: connections are opened by eight threads, with one round trip of 64 bytes each, and then all wait
in one epoll set; a message goes out on one of them, and the time is taken until epoll has named that one and the 64
bytes of the answer have been read. Memory is the growth of anonymous resident memory of the companion, of the
proxy, or of the program; beside it stands the growth of the kernel's slabs and socket buffers, the machine's as a
whole. A proxy needs two descriptors for each connection, so the machine's limit of descriptors
may keep it below the number that others have: the column says so.
""",
}
