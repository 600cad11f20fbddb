# SPDX-License-Identifier: MIT
"""Real servers of others, each on a free port of the loopback."""

import os
import re
import socket
import subprocess

from .certs import NAME
from .wait import until


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), timeout=5).close()
        return True
    except OSError:
        return False


def _wait_for_port(process, port):
    def up():
        if process.code() is not None:
            raise AssertionError(f"{process.argv[0]} ended: {process.output()}")
        return listens(port)
    until(up, f"{process.argv[0]} on its port; it said: {process.output()}")
    process.port = port
    return process


NAMES = ("-nameopt", "oneline")  # `CN = x` in all versions


def s_server(case, *arguments, leaf="good", address="127.0.0.1"):
    """`openssl s_server`; what is said to its standard input is sent, or is a command such as K."""
    process = case.spawn(
        ["openssl", "s_server", "-accept", f"{address}:0", "-cert", case.certs(f"{leaf}.leaf.pem"),
         "-cert_chain", case.certs(f"{leaf}.pem"), "-key", case.certs(f"{leaf}.key"), *NAMES, *arguments],
        stdin=subprocess.PIPE)
    process.wait_for_output("ACCEPT ")
    process.port = int(re.search(r"ACCEPT .*:(\d+)", process.output())[1])
    return process


def gnutls_serv(case, *arguments, leaf="good"):
    port = free_port()
    process = case.spawn(["gnutls-serv", "-p", str(port), "--x509certfile", case.certs(f"{leaf}.pem"),
                          "--x509keyfile", case.certs(f"{leaf}.key"), *arguments], stdin=subprocess.PIPE)
    return _wait_for_port(process, port)


NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    server {{
        listen 127.0.0.1:{port} ssl; {extra}
        ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
        root {root};
    }}
}}
"""


def nginx(case, root, leaf="good", extra=""):
    """nginx with TLS that serves the files in `root`."""
    port = free_port()
    where = case.dir / f"nginx-{port}"
    where.mkdir()
    config = where / "nginx.conf"
    config.write_text(NGINX.format(dir=where, port=port, cert=case.certs(f"{leaf}.pem"), root=root, extra=extra,
                                   key=case.certs(f"{leaf}.key")))
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(user + config.read_text())
    process = case.spawn(["nginx", "-e", "stderr", "-c", str(config)])
    return _wait_for_port(process, port)


EXIM = """
primary_hostname = {name}
spool_directory = {dir}
log_file_path = {dir}/%slog
pid_file_path = {dir}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
host_lookup =
rfc1413_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = discard
tls_advertise_hosts = *
tls_certificate = {dir}/mail.pem
tls_privatekey = {dir}/mail.key
begin acl
accept:
    accept
discard:
    discard
begin routers
begin transports
"""


def exim(case, name, leaf="good"):
    """Exim with STARTTLS, which accepts all mail and throws it away. (Debian 12's OpenSMTPD cannot do TLS at all with
    the OpenSSL it comes with.)"""
    port = free_port()
    where = case.dir / "exim"
    where.mkdir()
    for kind in ("pem", "key"):
        (where / f"mail.{kind}").write_bytes(case.certs.text(f"{leaf}.{kind}"))
    config = where / "exim.conf"
    config.write_text(EXIM.format(dir=where, port=port, name=name))
    case.run_program(["chown", "-R", "Debian-exim", where])
    config.chmod(0o644)
    case.run_program(["chown", "root", config])
    return _wait_for_port(case.spawn(["exim4", "-bdf", "-C", config]), port)


def accept_from(case, argv):
    """Starts a client program that connects to `{port}` of 127.0.0.1: (the accepted socket, its process)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = str(listener.getsockname()[1])
        client = case.spawn([part.replace("{port}", port) for part in argv], stdin=subprocess.PIPE)
        listener.settimeout(30)
        ours, _ = listener.accept()
        ours.setblocking(True)
    return ours, client


def s_client(case, *arguments):
    """`openssl s_client` that has connected: (our socket, its process)."""
    return accept_from(case, ["openssl", "s_client", "-connect", "127.0.0.1:{port}", "-CAfile", case.certs.ca,
                              *NAMES, *arguments])


def gnutls_cli(case, *arguments):
    return accept_from(case, ["gnutls-cli", "--x509cafile", case.certs.ca, "--verify-hostname", NAME, *arguments,
                              "-p", "{port}", "127.0.0.1"])
