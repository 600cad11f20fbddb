# SPDX-License-Identifier: MIT
"""Ordinary users to be: two real ones, found on this machine."""

import os
import pwd
import unittest


class User:
    def __init__(self, entry):
        self.name, self.uid, self.gid = entry.pw_name, entry.pw_uid, entry.pw_gid

    def wrap(self, argv):
        """The command that runs `argv` as this user. It execs, so that the process is dumpable again."""
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *argv]

    def own(self, path):
        os.chown(path, self.uid, self.gid)


def ordinary_users():
    """Two users without privileges."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can be other users")
    found = []
    for name in ("nobody", "www-data", "daemon", "games", "mail"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            found.append(User(entry))
    if len(found) < 2:
        raise unittest.SkipTest("this machine has not two ordinary users")
    return found[0], found[1]


def open_fuse_to_users():
    """On a machine without udev /dev/fuse may be root's alone; an ordinary one has 0666."""
    mode = os.stat("/dev/fuse").st_mode & 0o777
    if mode != 0o666 and os.geteuid() == 0:
        print(f"note: /dev/fuse was {mode:04o}; made 0666, as udev does")
        os.chmod("/dev/fuse", 0o666)
