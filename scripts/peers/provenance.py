"""What a result is worth nothing without: the machine, the versions, the commit, the date."""

import datetime
import os
import pathlib
import platform
import re
import subprocess


def machine():
    """Processor, cores and system."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()}


def slug(found):
    """The machine as a part of the name of a file."""
    cpu = re.sub(r"\(.*?\)|CPU|Processor|@.*", " ", found["cpu"])
    return "-".join(re.findall(r"[a-z0-9]+", cpu.lower())) + f"-{found['cores']}-cores"


def commit():
    """The commit that was measured, with `-dirty` behind it where files differ."""
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return found.stdout.strip()


def now():
    """In UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
