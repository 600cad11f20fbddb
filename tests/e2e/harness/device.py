# SPDX-License-Identifier: MIT
"""A connection as a program has it: files, and nothing else."""

import errno
import os


def fields(text, separator=":"):
    """`Tag: value` lines as a dictionary. A line without a tag, or a tag said twice, is an error."""
    found = {}
    for line in text.splitlines():
        tag, colon, value = line.partition(separator)
        if not colon or not tag.isalnum() or not value.startswith(" "):
            raise ValueError(f"not a tag and a value: {line!r}")
        if tag in found:
            raise ValueError(f"said twice: {tag}")
        found[tag] = value[1:]
    return found


class Connection:
    """Opening it opens `clone`: the descriptor `ctl` is the connection."""

    def __init__(self, mount, flags=0):
        self.mount = mount
        self._open, self._data = [], []
        self.ctl = self._keep(os.open(mount.file("clone"), os.O_RDWR | flags))
        self.number = int(os.read(self.ctl, 64))
        self.dir = mount.path / str(self.number)

    def _keep(self, descriptor):
        self._open.append(descriptor)
        return descriptor

    def say(self, *lines):
        """One write to ctl."""
        text = "".join(f"{line}\n" for line in lines).encode()
        written = os.write(self.ctl, text)
        if written != len(text):
            raise AssertionError(f"ctl took {written} of {len(text)} bytes")

    def put(self, name, text):
        """Writes one of the small files `ca`, `cert`, `key`, as the shell's > does."""
        descriptor = os.open(self.dir / name, os.O_WRONLY | os.O_TRUNC)
        try:
            done = 0
            while done < len(text):
                done += os.write(descriptor, text[done:])
        except BaseException:
            try:
                os.close(descriptor)
            except OSError:
                pass
            raise
        os.close(descriptor)

    def data(self, flags=0):
        """A descriptor of the plaintext: an open file of its own where the plain side has that, else one more of the
        same socket."""
        side = self.mount.case.plain_side
        if side.own_opens or not self._data:
            descriptor = side.ask(self, flags)
        else:
            descriptor = os.dup(self._data[0])
            if os.get_blocking(descriptor) == bool(flags & os.O_NONBLOCK):
                raise AssertionError("all descriptors of one socket share their O_NONBLOCK")
        self._data.append(descriptor)
        return self._keep(descriptor)

    def drop(self, descriptor):
        """Closes one of the descriptors early."""
        self._open.remove(descriptor)
        if descriptor in self._data:
            self._data.remove(descriptor)
        os.close(descriptor)

    def close(self):
        """Closes all that is open: for this process the connection ends here."""
        self._data.clear()
        while self._open:
            try:
                os.close(self._open.pop())
            except OSError as error:
                # A companion that died tells it at close; a descriptor is closed all the same.
                if error.errno == errno.EBADF:
                    raise

    def status(self):
        return fields((self.dir / "status").read_text(errors="replace"))

    def stats(self):
        return {name: int(value) for name, value in fields((self.dir / "stats").read_text()).items()}

    def peer(self):
        return (self.dir / "peer").read_text()


def read_exactly(descriptor, count):
    """Reads `count` bytes, or fewer where the stream ends."""
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_all(descriptor):
    """Reads to the end of the stream."""
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def write_all(descriptor, content):
    """A blocking write must take everything; returns how many calls it took."""
    view, calls = memoryview(content), 0
    while view:
        view = view[os.write(descriptor, view):]
        calls += 1
    return calls
