# SPDX-License-Identifier: MIT
"""tlsfs: a companion with a mount of its own, and the application on its files."""

import os
import subprocess

from ..scene import Failed, Service
from .base import Contestant, first_line


class Tlsfs(Contestant):
    """The file `data`. `build` is the build directory it comes from, `lines` go to every ctl before `client`, `flags` to
    tlsfs; it takes part only where the file `needs` is, and trusts `ca`, or else the benchmark's root."""

    via = "tlsfs"

    def __init__(self, build, key="tlsfs", title="`data`", lines=(), flags=(), needs="/dev/fuse", ca=None):
        self.build, self.key, self.title, self.lines, self.flags = build, key, title, lines, flags
        self.needs, self.ca = needs, ca

    @property
    def program(self):
        return self.build / "tlsfs" / "tlsfs"

    @property
    def tlsclient(self):
        return self.build / "cmd" / "tlsclient"

    def missing(self, scene):
        if not self.program.exists():
            return f"there is no {self.program}"
        return None if os.path.exists(self.needs) else f"there is no {self.needs}"

    def start(self, scene, port):
        self.port = port
        self.mount = scene.new_path("mount")
        self.mount.mkdir(mode=0o755)
        self.service = Service(scene, [self.program, "-f", *self.flags, "--ca-file", self.ca or scene.ca, self.mount],
                               stdout=subprocess.DEVNULL)
        self.service.wait_until(lambda: str(self.mount) in scene.mounts() and os.path.exists(self.mount / "clone"),
                                "the mount")

    def stop(self, scene):
        scene.stop(self.service)
        if str(self.mount) in scene.mounts():
            raise Failed(f"{self.mount} stayed mounted")

    def arguments(self):
        words = ["--via", self.via, "--port", self.port, "--mount", self.mount]
        for line in self.lines:
            words += ["--line", line]
        return words

    @property
    def sessions(self):
        return [self.service.session]

    def version(self):
        return first_line([self.program, "--version"])


class DataSocket(Tlsfs):
    """The data socket that the library returns."""

    via = "socket"

    def __init__(self, build):
        super().__init__(build, key="socket", title="data socket")
