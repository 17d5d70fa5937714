"""Millstream's command as a whole process: start, read, reduce, report."""

import json
import os
import subprocess

from prepared import Prepared

MILLSTREAM = os.environ.get("MILLSTREAM", "target/release/millstream")


def version():
    return subprocess.run([MILLSTREAM, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


def analyzed(data, layout):
    command = [MILLSTREAM, "analyze", data.files["file"], "--format", "json", "--threads", str(data.threads)]

    def run():
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout

    def answer(text):
        columns = json.loads(text)["groups"][0]["columns"]
        return {name: [columns[c][name] for c in data.names()] for name in ("mean", "variance")}

    return Prepared(layout, run, answer)


def csv(data):
    return analyzed(data, "csv")


def parquet(data):
    return analyzed(data, "parquet")
