"""The exercise on the ranges of bytes that some columns of one expert take in a safetensors file."""

from llama4lab.grading import Exercise

SIZES = {"BF16": 2, "F16": 2, "F32": 4}


def one_range_a_row(header, data_start, name, expert, columns, size=None):
    entry, (begin, end) = header[name], columns
    _, rows, width = entry["shape"]
    size = size or SIZES[entry["dtype"]]
    start = data_start + entry["data_offsets"][0] + expert * rows * width * size
    return [(start + (row * width + begin) * size, start + (row * width + end) * size) for row in range(rows)]


def joined(pieces):
    result = []
    for first, end in pieces:
        if result and result[-1][1] == first:
            result[-1] = (result[-1][0], end)
        else:
            result.append((first, end))
    return result


def ranges(header, data_start, name, expert, columns):
    return joined(one_range_a_row(header, data_start, name, expert, columns))


def moved(by):
    """The right ranges, moved by what `by` gives for (header, data_start, name, expert)."""
    return lambda header, data_start, name, expert, columns: [
        (first + by(header, data_start, name, expert), end + by(header, data_start, name, expert))
        for first, end in ranges(header, data_start, name, expert, columns)
    ]


def rows_instead_of_columns(header, data_start, name, expert, columns):
    entry, (begin, end) = header[name], columns
    _, rows, width = entry["shape"]
    start, size = data_start + entry["data_offsets"][0], SIZES[entry["dtype"]]
    return [(start + (expert * rows + begin) * width * size, start + (expert * rows + end) * width * size)]


HEADER = {
    "before": {"dtype": "BF16", "shape": [6], "data_offsets": [0, 12]},
    "experts": {"dtype": "BF16", "shape": [4, 3, 8], "data_offsets": [12, 204]},
    "wide": {"dtype": "F32", "shape": [2, 2, 4], "data_offsets": [204, 268]},
}

TALL = {"experts": {"dtype": "BF16", "shape": [4, 5, 8], "data_offsets": [0, 320]}}

RANGES = Exercise(
    right=ranges,
    cases=[
        (HEADER, 100, "experts", 2, (0, 8)),
        (HEADER, 100, "experts", 2, (2, 6)),
        (HEADER, 100, "experts", 0, (4, 8)),
        (HEADER, 108, "wide", 1, (0, 2)),
        (TALL, 100, "experts", 2, (2, 6)),
    ],
    mistakes={
        "A place in the file counts from its first byte: add `data_start`.": moved(lambda header, start, *_: -start),
        "The tensor begins at its own `data_offsets[0]`; add that.": moved(
            lambda header, start, name, expert: -header[name]["data_offsets"][0]
        ),
        "These are the bytes of expert 0; those of the other experts come after its rows × columns numbers.": moved(
            lambda header, start, name, expert: (
                -expert * header[name]["shape"][1] * header[name]["shape"][2] * SIZES[header[name]["dtype"]]
            )
        ),
        "Ranges that touch are one range: all columns of an expert are contiguous.": one_range_a_row,
        "The last byte is included; the end of a range is the byte after it.": lambda *arguments: [
            (first, end - 1) for first, end in ranges(*arguments)
        ],
        "A number in F32 takes 4 bytes; take the size from the entry's dtype.": lambda *arguments: joined(
            one_range_a_row(*arguments, size=2)
        ),
        "These are rows; a column runs through all rows, so that some columns are a range in each row.": (
            rows_instead_of_columns
        ),
    },
    otherwise="Row r of expert e begins at data_start + data_offsets[0] + (e × rows + r) × columns × bytes of a number.",
)
