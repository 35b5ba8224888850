"""Graders of the notebook on a whole Llama 4: a folded prompt, a shelf with rows of unequal length, facts and walls."""

from llama4lab.grading import Exercise

EXERCISES = {}

# ---- 1: rows and padding of a folded prompt ----


def folded(batch, tokens, chunk):
    size = min(chunk, tokens)
    return [batch * -(-tokens // size), size, -tokens % size]


EXERCISES[1] = Exercise(
    right=folded,
    cases=[(1, 12, 4), (2, 13, 4), (1, 3, 4), (3, 4, 4), (2, 8193, 8192), (1, 1, 128)],
    mistakes={
        "The last chunk counts too, even if it is not full.": lambda batch, tokens, chunk: [
            batch * (tokens // min(chunk, tokens)),
            min(chunk, tokens),
            -tokens % min(chunk, tokens),
        ],
        "A prompt shorter than a chunk is one row of its own length: nothing is padded.": lambda batch, tokens, chunk: [
            batch * -(-tokens // chunk),
            chunk,
            -tokens % chunk,
        ],
        "The last piece lacks what is missing to a whole one; yours is how many tokens it has.": lambda b, t, c: [
            b * -(-t // min(c, t)),
            min(c, t),
            t % min(c, t),
        ],
        "The last chunk counts too, even if it is not full, and what it lacks is what is missing to a whole one.": (
            lambda b, t, c: [b * (t // min(c, t)), min(c, t), t % min(c, t)]
        ),
        "Every row of the batch is folded: multiply by the batch.": lambda batch, tokens, chunk: [
            -(-tokens // min(chunk, tokens)),
            min(chunk, tokens),
            -tokens % min(chunk, tokens),
        ],
        "The third number is the padding of each row's last piece, not of all rows together.": lambda b, t, c: [
            b * -(-t // min(c, t)),
            min(c, t),
            b * (-t % min(c, t)),
        ],
        "Each row of the batch is cut by itself: no piece holds tokens of two rows.": lambda b, t, c: [
            -(-b * t // min(c, t)),
            min(c, t),
            -b * t % min(c, t),
        ],
    },
    otherwise="How many chunks are begun, how long is one, and how many tokens does the last one lack?",
)

# ---- 2: which columns of a shelf stay, positions `[batch][columns]`, -1 for padding ----


def columns_to_keep(positions, chunk):
    walls = [(max(row) + 1) // chunk * chunk for row in positions]
    seen = [[position >= wall for position in row] for row, wall in zip(positions, walls, strict=True)]
    return [column for column in range(len(positions[0])) if any(row[column] for row in seen)]


def without_next(positions, chunk):
    walls = [max(row) // chunk * chunk for row in positions]
    seen = [[position >= wall for position in row] for row, wall in zip(positions, walls, strict=True)]
    return [column for column in range(len(positions[0])) if any(row[column] for row in seen)]


def of_first_row(positions, chunk):
    return columns_to_keep(positions[:1], chunk)


def for_all_rows(positions, chunk):
    kept = [set(columns_to_keep([row], chunk)) for row in positions]
    return sorted(set.intersection(*kept))


def as_a_window(positions, chunk):
    count = len(positions[0])
    return list(range(max(0, count - chunk + 1), count))


def with_walls(positions, wall):
    """The columns that a row keeps from the wall on that `wall` finds for it."""
    columns = range(len(positions[0]))
    return [column for column in columns if any(row[column] >= wall(row) for row in positions)]


def as_windows(positions, chunk):
    return with_walls(positions, lambda row: max(0, max(row) + 2 - chunk))


def after_the_last_column(positions, chunk):
    return with_walls(positions, lambda row: (row[-1] + 1) // chunk * chunk)


def of_the_longest_row(positions, chunk):
    return with_walls(positions, lambda row: (max(map(max, positions)) + 1) // chunk * chunk)


def by_count(positions, chunk):
    return with_walls(positions, lambda row: sum(position >= 0 for position in row) // chunk * chunk)


def after_the_wall(positions, chunk):
    return with_walls(positions, lambda row: (max(row) + 1) // chunk * chunk + 1)


def from_the_first_kept(positions, chunk):
    kept = columns_to_keep(positions, chunk)
    return list(range(kept[0], len(positions[0]))) if kept else []


def by_columns(positions, chunk):
    return with_walls(positions, lambda row: len(row) // chunk * chunk)


EXERCISES[2] = Exercise(
    right=columns_to_keep,
    cases=[
        ([[0, 1, 2, 3, 4, 5]], 4),
        ([[0, 1, 2, 3]], 4),
        ([[0, 1, 2]], 4),
        ([[0, 1, 2, 3, 4, 5], [0, 1, 2, -1, -1, -1]], 4),
        ([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, -1, -1, -1, 3]], 4),
        ([[0, 1, 2, 3, 4], [0, 1, -1, -1, 2], [0, -1, -1, -1, 1]], 2),
        ([[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, -1, -1]], 4),
        ([[-1, -1, 0, 1], [0, 1, 2, 3]], 3),
        ([[-1, -1, -1, 0], [-1, 0, 1, 2]], 4),
        ([[4, 5, 6, 7]], 4),
        ([[8, 9, 10, 11], [4, 5, 6, -1]], 4),
    ],
    mistakes={
        "Look from the next token: after the last token of a chunk it is past a wall.": without_next,
        "A column stays if any row still sees it, not the first one alone.": of_first_row,
        "A column stays if any row still sees it; not all of them must.": for_all_rows,
        "That is a sliding window: the next token sees back to its wall, not a fixed number of tokens.": [
            as_a_window,
            as_windows,
            lambda positions, chunk: with_walls(positions, lambda row: max(row) + 2 - chunk),
        ],
        "The last column may be padding: a row's next token comes after its largest position.": after_the_last_column,
        "Each row has its own next token, and so its own wall; yours is that of the longest row.": of_the_longest_row,
        "Columns may be gone already: a row's next token comes after its largest position, not after as many as it has.": (
            by_count
        ),
        "The key right at the wall is in the next token's room too; keep it.": after_the_wall,
        "A column may go even if an earlier one stays; look at each.": from_the_first_kept,
        "Columns are no positions: a row's next token comes after its largest position.": by_columns,
    },
    otherwise="For each row, take the position after its largest, and the wall before that; keep what is not before it.",
)

# ---- 3: whether a question can be answered, packed first and read later ----


def layers_that_show(query, key, layer_types, chunk):
    near = query // chunk == key // chunk
    return [layer for layer, kind in enumerate(layer_types) if near or kind == "full_attention"]


def can_answer(subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    read = layers_that_show(question, value, layer_types, chunk)
    return bool(packed and read) and packed[0] < read[-1]


def in_the_same_layer(subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    read = layers_that_show(question, value, layer_types, chunk)
    return bool(packed and read) and packed[0] <= read[-1]


def reads_first(subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    read = layers_that_show(question, value, layer_types, chunk)
    return bool(packed and read) and packed[0] < read[0]


def any_global(subject, value, question, layer_types, chunk):
    return "full_attention" in layer_types


def in_one_room(subject, value, question, layer_types, chunk):
    return subject // chunk == value // chunk and can_answer(subject, value, question, layer_types, chunk)


def compared(rule, subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    return rule(packed, layers_that_show(question, value, layer_types, chunk))


def asks_for_the_subject(subject, value, question, layer_types, chunk):
    packed = layers_that_show(value, subject, layer_types, chunk)
    read = layers_that_show(question, subject, layer_types, chunk)
    return bool(packed and read) and packed[0] < read[-1]


def packed_is_enough(subject, value, question, layer_types, chunk):
    return subject // chunk == value // chunk or layer_types.count("full_attention") > 1


def rooms_and_a_count(rule):
    """Answers from whether the fact, and the question too, are in one room, and from how many layers are global."""

    def answer(subject, value, question, layer_types, chunk):
        fact, all_three = subject // chunk == value // chunk, subject // chunk == value // chunk == question // chunk
        return rule(fact, all_three, layer_types.count("full_attention"))

    return answer


PROXY, SCOUT = ["chunked_attention"] * 3 + ["full_attention"], (["chunked_attention"] * 3 + ["full_attention"]) * 2
EXERCISES[3] = Exercise(
    right=can_answer,
    cases=[
        (64, 66, 200, PROXY, 64),
        (62, 64, 200, PROXY, 64),
        (62, 64, 200, SCOUT, 64),
        (10, 12, 14, ["chunked_attention"] * 2, 64),
        (10, 12, 14, ["chunked_attention"], 64),
        (10, 12, 70, ["chunked_attention"] * 4, 64),
        (10, 12, 70, ["full_attention"] + ["chunked_attention"] * 3, 64),
        (62, 64, 70, ["chunked_attention", "full_attention", "chunked_attention"], 64),
        (62, 64, 200, ["full_attention", "full_attention"], 64),
        (62, 64, 70, PROXY, 128),
    ],
    mistakes={
        "Packing and reading take two layers: what a layer gathers, only a later one can read.": in_the_same_layer,
        "It is enough if some later layer reads: compare the first that packs with the last that reads.": reads_first,
        "A wall through the fact does not always lose it: an early global layer can pack, a later one read.": in_one_room,
        "One room packs a fact, and no more: the question's token must still see the value's, in a later layer.": [
            lambda subject, value, question, layer_types, chunk: subject // chunk == value // chunk,
            packed_is_enough,
        ],
        "All three in one room is one way; a global layer shows the question a value beyond its wall.": (
            lambda subject, value, question, layer_types, chunk: subject // chunk == value // chunk == question // chunk
        ),
        "Rooms and how many layers are global do not decide, their order does: list those that pack and those that read.": [
            rooms_and_a_count(lambda fact, all_three, count: count > 1 or (fact and count > 0)),
            rooms_and_a_count(lambda fact, all_three, count: all_three or (fact and count > 0)),
            rooms_and_a_count(lambda fact, all_three, count: all_three or count > 1 or (fact and count > 0)),
            rooms_and_a_count(lambda fact, all_three, count: fact and count > 0),
        ],
        "The question's token need not see the subject: it reads the value's, which has packed it.": asks_for_the_subject,
        "Any earlier layer may pack and any later one read: compare the first that packs with the last that reads.": [
            lambda *case: compared(lambda packed, read: bool(packed and read) and packed[-1] < read[0], *case),
            lambda *case: compared(lambda packed, read: bool(packed and read) and packed[-1] < read[-1], *case),
        ],
        "Where no layer shows the token there is no first and no last one: return False.": [
            lambda *case: compared(lambda packed, read: packed[0] < read[-1], *case),
            lambda *case: compared(lambda packed, read: min(packed) < max(read), *case),
        ],
        "A global layer is not enough: where a wall cuts the fact, it must be packed before it is read.": any_global,
    },
    otherwise="Which layers let `value` see `subject`, and which let `question` see `value`?",
)
