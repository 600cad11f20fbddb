# SPDX-License-Identifier: MIT
"""Whole processes that fetch one page and end."""

from pathlib import Path
from shutil import which

from ..scene import NAME
from .base import first_line, openssl_version

SYSTEM_TRUST = Path("/etc/ssl/certs/ca-certificates.crt")

# The README's, with the address and the name of the benchmark.
SCRIPT = """
exec 3<>/dev/tcp/127.0.0.1/{port}
exec 4<>$TLSFS/clone; read -r n <&4
{more}echo 'fd 3' >&4 && echo 'client {name}' >&4
exec 5<>$TLSFS/$n/data
echo -e 'GET / HTTP/1.0\\r\\n\\r' >&5; cat <&5
"""


class Job:
    """`argv` gets the request on its standard input. `companion` is whose CPU counts too."""

    def __init__(self, key, title, argv, companion=None, prepare=None, version=None):
        self.key, self.title, self.argv, self.companion = key, title, [str(word) for word in argv], companion
        self.prepare, self.version = prepare, version

    @property
    def environment(self):
        return {"TLSFS": str(self.companion.mount)} if self.companion else {}

    @property
    def sessions(self):
        return self.companion.sessions if self.companion else []


def tlsclient(key, title, companion, port, *options):
    return Job(key, title, [companion.tlsclient, *options, "-n", NAME, f"127.0.0.1:{port}"], companion)


def bash(key, title, companion, port, more=""):
    script = SCRIPT.format(port=port, name=NAME, more=more)
    return Job(key, title, ["bash", "--noprofile", "--norc", "-c", script], companion)


def curl(key, title, port, ca):
    return Job(key, title, ["curl", "--silent", "--show-error", "--cacert", ca, "--resolve",
                            f"{NAME}:{port}:127.0.0.1", f"https://{NAME}:{port}/"],
               version=" ".join((first_line(["curl", "--version"]) or "").split()[:2]))


def s_client(key, title, port, ca, *options, prepare=None):
    return Job(key, title, ["openssl", "s_client", "-quiet", "-verify_quiet", "-verify_return_error", "-CAfile", ca,
                            "-verify_hostname", NAME, "-servername", NAME, "-connect", f"127.0.0.1:{port}", *options],
               prepare=prepare, version=openssl_version())


def all_jobs(scene, port, companions, trusting):
    """`companions` trust the benchmark's root alone, `trusting` (or None) the machine's store besides."""
    jobs = []
    for companion in companions:
        name, title = companion.key.removeprefix("tlsfs"), companion.title.removeprefix("tlsfs")
        jobs += [tlsclient(f"tlsclient{name}", f"tlsclient{title}", companion, port),
                 tlsclient(f"tlsclient full{name}", f"tlsclient --no-session{title}", companion, port, "--no-session")]
    jobs += [bash("bash", "bash example", companions[0], port),
             bash("bash full", "bash example, `session off`", companions[0], port, "echo 'session off' >&4; ")]
    if which("curl"):
        jobs.append(curl("curl", "curl", port, scene.ca))
    if which("openssl"):
        session = scene.new_path("session")
        save = s_client("", "", port, scene.ca, "-sess_out", session)
        jobs += [s_client("s_client", "openssl s_client", port, scene.ca),
                 s_client("s_client resumed", "openssl s_client -sess_in", port, scene.ca, "-sess_in", session,
                          "-sess_out", session, prepare=save)]
    if trusting:
        jobs.append(tlsclient("tlsclient store", "tlsclient, machine's trust store", trusting, port))
        if which("curl"):
            jobs.append(curl("curl store", "curl, machine's trust store", port, trusting.ca))
        if which("openssl"):
            jobs.append(s_client("s_client store", "openssl s_client, machine's trust store", port, trusting.ca))
    return jobs


def machine_store(scene):
    """The machine's trust store with the benchmark's root at its end, as one file; None where there is no store."""
    if not SYSTEM_TRUST.exists():
        return None
    path = scene.new_path("store.pem")
    path.write_bytes(SYSTEM_TRUST.read_bytes() + b"\n" + Path(scene.ca).read_bytes())
    return path
