"""What the engines of the command line have in common: a process over the file, and numbers in its output."""

import subprocess

from prepared import Prepared, pair


def process(command, data, numbers):
    """`numbers` makes (means, variances) of what the command writes."""
    run = lambda: subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return Prepared("csv", run, lambda text: pair(numbers(text)))


def version_of(command):
    """The version at the end of the first line that the command says of itself."""
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].split()[-1]
