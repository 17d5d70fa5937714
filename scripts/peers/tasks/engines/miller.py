"""Miller, one process."""

import json

from engines.tools import process, version_of


def version():
    return version_of("mlr")


def csv(data):
    names = ",".join(data.names())
    command = ["mlr", "--icsv", "--ojson", "stats1", "-a", "mean,var", "-f", names, data.files["file"]]

    def numbers(text):
        found = json.loads(text)[0]
        return [found[f"{n}_mean"] for n in data.names()], [found[f"{n}_var"] for n in data.names()]

    return process(command, data, numbers)
