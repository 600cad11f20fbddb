# SPDX-License-Identifier: MIT
"""What the figures were taken on."""

import os
import platform
import shutil
import subprocess

from .scene import ROOT


def _processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib():
    with open("/proc/meminfo", encoding="ascii") as file:
        return round(int(file.readline().split()[1]) / (1 << 20))


def _system():
    with open("/etc/os-release", encoding="utf-8") as file:
        return next(line.partition("=")[2].strip().strip('"') for line in file if line.startswith("PRETTY_NAME="))


def _virtual():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return ", virtual" if "hypervisor" in file.read().split() else ""


def _commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True,
                          text=True) if shutil.which("git") else None
    return done.stdout.strip() if done and done.returncode == 0 else "unknown"


def describe():
    return {
        "processor": f"{os.cpu_count()} × {_processor()}{_virtual()}",
        "memory": f"{_memory_gib()} GiB",
        "system": f"{_system()}, Linux {platform.release()}",
        "commit": _commit(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
