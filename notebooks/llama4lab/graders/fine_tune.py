"""Graders of notebook 15: labels of a conversation, ranks, the mask of a packed row, a correction of fused experts."""

import torch

from llama4lab.grading import Exercise

EXERCISES = {}

# ---- 1: the labels of a conversation ----


def make_labels(ids, header, eot, with_stop=True, with_header=False, most=None, shift=0, compared=0):
    labels, inside, answers, header = [-100] * len(ids), False, 0, header[-compared:]
    for place, token in enumerate(ids):
        if place >= len(header) and ids[place - len(header) : place] == header:
            inside, answers = most is None or answers < most, answers + 1
            if inside and with_header:
                labels[place - len(header) : place] = header
        if inside and (with_stop or token != eot):
            labels[place] = token
        inside = inside and token != eot
    return labels[shift:] + [-100] * shift


def last_only(ids, header, eot):
    answers = sum(ids[n - len(header) : n] == header for n in range(len(header), len(ids)))
    first = make_labels(ids, header, eot, most=answers - 1)
    return [-100 if old != -100 else new for old, new in zip(first, make_labels(ids, header, eot), strict=True)]


def to_the_end(ids, header, eot):
    start = next(n for n in range(len(header), len(ids)) if ids[n - len(header) : n] == header)
    return [-100] * start + ids[start:]


EXERCISES[1] = Exercise(
    right=make_labels,
    cases=[
        ([1, 7, 8, 20, 21, 9, 7, 6, 30, 31, 9, 7, 8, 22, 9, 7, 6, 32, 9, 0, 0], [7, 6], 9),
        ([1, 5, 8, 3, 20, 7, 4, 5, 6, 3, 40, 41, 42, 4, 5, 8, 3, 21, 4, 5, 6, 3, 7, 9, 4], [5, 6, 3], 4),
    ],
    mistakes={
        "The stop token is part of what the model must write: it keeps its id.": (
            lambda ids, header, eot: make_labels(ids, header, eot, with_stop=False)
        ),
        "The header is written by the template, not by the model: -100.": (
            lambda ids, header, eot: make_labels(ids, header, eot, with_header=True)
        ),
        "Only the first answer has labels; there may be several.": (
            lambda ids, header, eot: make_labels(ids, header, eot, most=1)
        ),
        "Only the last answer has labels; there may be several.": last_only,
        "The labels are shifted: leave them level with the ids, the library shifts.": (
            lambda ids, header, eot: make_labels(ids, header, eot, shift=1)
        ),
        "After a stop token the next turn begins, which is not the model's: -100.": to_the_end,
        "Every token has a label, the user's words among them.": lambda ids, header, eot: list(ids),
        "The user's header ends like the assistant's: compare the whole header.": (
            lambda ids, header, eot: make_labels(ids, header, eot, compared=1)
        ),
    },
    otherwise="For header [7, 6] and stop 9, the row 1 7 6 30 9 8 has the labels -100 -100 -100 30 9 -100.",
)

# ---- 2: the largest rank within a budget ----


def numbers(shapes, with_experts=True, sides=sum, count=1):
    return sum((shape[0] if len(shape) == 3 and with_experts else 1) * sides(shape[-2:]) * count for shape in shapes)


def largest_rank(shapes, budget, **mistake):
    return budget // numbers(shapes, **mistake)


EXERCISES[2] = Exercise(
    right=largest_rank,
    cases=[
        ([(6, 10), (4, 6, 12)], 1000),
        ([(16, 20, 40), (16, 40, 20)], 7000),
        ([(50, 30), (20, 10)], 1000),
        ([(50, 30)], 79),
    ],
    mistakes={
        "Fused experts have a pair for each expert: count it that often.": (
            lambda shapes, budget: largest_rank(shapes, budget, with_experts=False)
        ),
        "A pair has rank times (in + out) numbers, not in times out.": (
            lambda shapes, budget: largest_rank(shapes, budget, sides=lambda pair: pair[0] * pair[1])
        ),
        "That counts one matrix of each pair.": (
            lambda shapes, budget: largest_rank(shapes, budget, sides=lambda pair: pair[1])
        ),
        "That is the largest rank of the dearest shape alone; the adapters at all shapes share the budget.": (
            lambda shapes, budget: min(largest_rank([shape], budget) for shape in shapes)
        ),
        "In and out are the last two sizes; the first of a fused shape counts the experts.": (
            lambda shapes, budget: budget // sum(shape[0] + shape[1] for shape in shapes)
        ),
        "That exceeds the budget: round down.": lambda shapes, budget: -(-budget // numbers(shapes)),
        "Where not even rank 1 fits the answer is 0.": lambda shapes, budget: max(1, largest_rank(shapes, budget)),
    },
    otherwise="Shapes (6, 10) and (4, 6, 12) cost 16 + 4 * 18 = 88 numbers for each unit of rank.",
)

# ---- 3: who sees whom in a packed row ----


def may_see(starts, length, chunk, walls=True, own_chunks=True, causal=True, chunks=True, late=0):
    begins = [max((start for start in starts if start + late <= column), default=0) for column in range(length)]
    rooms = [
        (start if walls else 0, (column - (start if own_chunks else 0)) // chunk if chunks else 0)
        for column, start in enumerate(begins)
    ]
    return [
        [(key <= query or not causal) and rooms[key] == rooms[query] for key in range(length)]
        for query in range(length)
    ]


def sliding(starts, length, chunk):
    without = may_see(starts, length, chunk, chunks=False)
    return [[sees and query - key < chunk for key, sees in enumerate(row)] for query, row in enumerate(without)]


EXERCISES[3] = Exercise(
    right=may_see,
    cases=[([0, 3, 8], 11, 4), ([0, 5], 9, 2), ([0], 7, 3)],
    mistakes={
        "A token sees tokens of another conversation.": (
            lambda starts, length, chunk: may_see(starts, length, chunk, walls=False, own_chunks=False)
        ),
        "Chunks are counted from the beginning of the conversation, not of the row.": (
            lambda starts, length, chunk: may_see(starts, length, chunk, own_chunks=False)
        ),
        "Equal chunk numbers are not enough: the conversations must be equal, too.": (
            lambda starts, length, chunk: may_see(starts, length, chunk, walls=False)
        ),
        "A token sees tokens after it.": lambda starts, length, chunk: may_see(starts, length, chunk, causal=False),
        "That is a layer without chunks.": lambda starts, length, chunk: may_see(starts, length, chunk, chunks=False),
        "A chunk is a room with walls, not the last tokens seen from each query.": sliding,
        "A token sees itself, too.": (
            lambda starts, length, chunk: [
                [sees and key != query for key, sees in enumerate(row)]
                for query, row in enumerate(may_see(starts, length, chunk))
            ]
        ),
        "The column in `starts` belongs to the new conversation.": (
            lambda starts, length, chunk: may_see(starts, length, chunk, late=1)
        ),
        "Queries are the rows, keys the columns.": (
            lambda starts, length, chunk: [list(row) for row in zip(*may_see(starts, length, chunk), strict=True)]
        ),
    },
    otherwise="With starts [0, 3] and chunk 4, token 3 sees itself alone, token 7 begins a new chunk.",
)

# ---- 4: the correction of fused experts ----


def expert_delta(a, b, experts, scale, order="ire", rows="ero"):
    first = a.reshape(experts, -1, a.shape[-1]) if rows == "ero" else a.reshape(-1, experts, a.shape[-1])
    shape = (b.shape[0], -1, experts) if order == "ire" else (b.shape[0], experts, -1)
    return scale * torch.einsum(f"{order},{rows}->eio", b.reshape(shape), first)


def pair(experts, rank, inside, outside, seed):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rank * experts, outside, generator=generator),
        torch.randn(inside, rank * experts, generator=generator),
        experts,
    )


EXERCISES[4] = Exercise(
    right=expert_delta,
    cases=[(*pair(4, 3, 5, 6, 0), 2.0), (*pair(2, 4, 3, 7, 1), 0.5)],
    tolerance=1e-4,
    mistakes={
        "The columns of `b` go rank by rank, the experts changing fastest.": (
            lambda a, b, experts, scale: expert_delta(a, b, experts, scale, order="ier")
        ),
        "The rows of `a` go expert by expert.": (
            lambda a, b, experts, scale: expert_delta(a, b, experts, scale, rows="reo")
        ),
        "The correction is multiplied by `scale`.": lambda a, b, experts, scale: expert_delta(a, b, experts, 1.0),
        "`scale` is alpha / rank already: do not divide by the rank again.": (
            lambda a, b, experts, scale: expert_delta(a, b, experts, scale * experts / a.shape[0])
        ),
        "The result is [experts, in, out]; that one has in and out exchanged.": (
            lambda a, b, experts, scale: expert_delta(a, b, experts, scale).transpose(1, 2)
        ),
        "That is the sum over all experts; each has a correction of its own.": (
            lambda a, b, experts, scale: scale * (b @ a)
        ),
    },
)
