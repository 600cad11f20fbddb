# SPDX-License-Identifier: MIT
"""What a private key looks like in memory, in all its forms."""

import base64
import re
import subprocess


def _number(text, name):
    """The bytes of a number in `openssl rsa -text`."""
    block = re.search(rf"^{name}:\n((?: +[0-9a-f:]+\n)+)", text, re.MULTILINE)[1]
    return bytes.fromhex(re.sub(r"[\s:]", "", block)).lstrip(b"\0")


def traces_of(path):
    """name -> bytes that must not stand in the memory of who should not have the RSA key in `path`."""
    with open(path, encoding="ascii") as file:
        body = "".join(line.strip() for line in file if not line.startswith("-----"))
    der = base64.b64decode(body)
    text = subprocess.run(["openssl", "rsa", "-in", path, "-noout", "-text"], check=True, capture_output=True,
                          text=True).stdout
    # From the middle of each: freed memory may lose its first bytes to the allocator.
    # A whole line of the file, which has 64 characters in each.
    found = {"the PEM text": body[768:832].encode(), "the DER bytes": der[600:664]}
    for name in ("privateExponent", "prime1", "prime2", "exponent1", "coefficient"):
        number = _number(text, name)
        middle = number[len(number) // 2:][:32]
        found[f"{name}, big end first"] = middle
        found[f"{name}, little end first"] = middle[::-1]
    return found
