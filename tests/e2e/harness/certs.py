# SPDX-License-Identifier: MIT
"""Certificates of every quality, made once a run by the openssl command.

A root signs an intermediate, which signs the leaves. Each leaf NAME has `NAME.pem` (its chain, leaf first),
`NAME.key`, and `NAME.leaf.pem` alone.
"""

import hashlib
import os
import ssl
import subprocess
import tempfile
from pathlib import Path

NAME = "server.test"

CONFIG = """
[req]
distinguished_name = dn
prompt = no
[dn]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[ca]
default_ca = signer
[signer]
new_certs_dir = {here}/issued
database = {here}/{signer}.index
serial = {here}/{signer}.serial
crlnumber = {here}/{signer}.crlnumber
certificate = {here}/{signer}.pem
private_key = {here}/{signer}.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = anything
unique_subject = no
copy_extensions = copy
[anything]
commonName = supplied
"""

LEAF = "basicConstraints=CA:false"
GOOD = f"DNS:{NAME},DNS:localhost"
EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
RSA = ["-newkey", "rsa:2048"]

# name: (subject alternative names, kind of key, arguments for the signer)
LEAVES = {
    "good": (GOOD, EC, []),
    "rsa": (GOOD, RSA, []),
    "rsa4096": (GOOD, ["-newkey", "rsa:4096"], []),
    "p384": (GOOD, ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], []),
    "p521": (GOOD, ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"], []),
    "ed25519": (GOOD, ["-newkey", "ed25519"], []),
    "second": ("DNS:second.test", EC, []),
    "second-rsa": ("DNS:second.test", RSA, []),
    "ip": ("IP:127.0.0.1,IP:::1", EC, []),
    "expired": (GOOD, EC, ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]),
    "future": (GOOD, EC, ["-startdate", "20980101000000Z", "-enddate", "20990101000000Z"]),
    "revoked": (GOOD, EC, []),
    "client": ("email:alice@client.test", EC, []),
}


class Certificates:
    def __init__(self, directory):
        self.dir = Path(directory)

    def __call__(self, name):
        """The path of a file, as a string."""
        path = self.dir / name
        assert path.exists(), path
        return str(path)

    def text(self, name):
        return (self.dir / name).read_bytes()

    @property
    def ca(self):
        return self("ca.pem")

    def pin(self, leaf, kind="sha256"):
        """The pin of a leaf's certificate, or of its public key (`spki`)."""
        if kind == "sha256":
            body = ssl.PEM_cert_to_DER_cert(self.text(f"{leaf}.leaf.pem").decode())
        else:
            pem = _openssl("x509", "-in", self(f"{leaf}.leaf.pem"), "-noout", "-pubkey")
            body = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"],
                                  input=pem, check=True, capture_output=True).stdout
        return f"{kind}:{hashlib.sha256(body).hexdigest()}"


def _openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout


class _Maker:
    def __init__(self, here):
        self.here = Path(here)
        (self.here / "issued").mkdir()

    def path(self, name):
        return str(self.here / name)

    def config(self, signer):
        path = self.here / f"{signer}.cnf"
        path.write_text(CONFIG.format(here=self.here, signer=signer))
        return str(path)

    def self_signed(self, name, subject, *extra):
        _openssl("req", "-x509", "-config", self.config(name), *EC, "-nodes", "-days", "30", "-subj", f"/CN={subject}",
                 "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"), *extra)

    def database(self, signer):
        """What `openssl ca` keeps of a signer."""
        (self.here / f"{signer}.index").touch()
        (self.here / f"{signer}.serial").write_text("1000\n")
        (self.here / f"{signer}.crlnumber").write_text("1000\n")

    def root(self, name):
        self.self_signed(name, f"tlsfs test {name}", "-extensions", "authority")
        self.database(name)

    def signed(self, name, signer, subject, key, extensions, *extra):
        request = self.path(f"{name}.csr")
        wanted = [part for extension in extensions for part in ("-addext", extension)]
        _openssl("req", "-new", "-config", self.config(signer), *key, "-nodes", "-subj", f"/CN={subject}",
                 "-keyout", self.path(f"{name}.key"), "-out", request, *wanted)
        _openssl("ca", "-batch", "-notext", "-config", self.config(signer), "-in", request,
                 "-out", self.path(f"{name}.pem"), *extra)

    def join(self, name, *parts):
        (self.here / name).write_bytes(b"".join((self.here / part).read_bytes() for part in parts))

    def leaf(self, name, signer):
        names, key, extra = LEAVES[name]
        self.signed(name, signer, name, key, [LEAF, f"subjectAltName={names}"], *extra)
        os.rename(self.path(f"{name}.pem"), self.path(f"{name}.leaf.pem"))
        self.join(f"{name}.pem", f"{name}.leaf.pem", f"{signer}.pem")


def _make(here):
    make = _Maker(here)
    make.root("ca")
    make.root("strangers-ca")
    make.signed("intermediate", "ca", "tlsfs test intermediate", EC,
                ["basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign"])
    make.database("intermediate")
    for name in LEAVES:
        make.leaf(name, "intermediate")

    make.signed("stranger", "strangers-ca", "stranger", EC, [LEAF, f"subjectAltName={GOOD}"])
    make.join("stranger.leaf.pem", "stranger.pem")
    make.self_signed("selfsigned", "selfsigned", "-addext", f"subjectAltName={GOOD}")
    make.join("selfsigned.leaf.pem", "selfsigned.pem")
    make.join("incomplete.pem", "good.leaf.pem")
    make.join("incomplete.leaf.pem", "good.leaf.pem")
    make.join("incomplete.key", "good.key")

    intermediate = make.config("intermediate")
    _openssl("ca", "-config", intermediate, "-revoke", make.path("revoked.leaf.pem"))
    _openssl("ca", "-config", intermediate, "-gencrl", "-out", make.path("intermediate.crl"))
    _openssl("ca", "-config", make.config("ca"), "-gencrl", "-out", make.path("ca.crl"))
    make.join("ca-with-crl.pem", "ca.pem", "ca.crl", "intermediate.crl")

    _openssl("pkey", "-in", make.path("good.key"), "-aes256", "-passout", "pass:secret",
             "-out", make.path("encrypted.key"))
    # Test keys, and of no use elsewhere: servers that run as other users must read them.
    for path in make.here.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)


def make_certificates(directory):
    """Makes all of them in `directory`, which must be empty."""
    os.chmod(directory, 0o755)
    _make(directory)
    return Certificates(directory)


def certificates():
    """The run's certificates; a test that runs on its own makes its own."""
    directory = os.environ.get("E2E_CERTS")
    if directory is None:
        directory = tempfile.mkdtemp(prefix="tlsfs-e2e-certs-")
        make_certificates(directory)
        os.environ["E2E_CERTS"] = directory
    return Certificates(directory)
