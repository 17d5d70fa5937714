"""GNU datamash, one process."""

from engines.tools import process, version_of


def version():
    return version_of("datamash")


def csv(data):
    columns = ",".join(str(j + 1) for j in range(data.d))
    # It writes 14 digits unless it is asked for more.
    command = [
        "sh",
        "-c",
        f"datamash -t, --header-in --format %.17g mean {columns} svar {columns} < {data.files['file']}",
    ]

    def numbers(text):
        values = [float(v) for v in text.split(",")]
        return values[: data.d], values[data.d :]

    return process(command, data, numbers)
