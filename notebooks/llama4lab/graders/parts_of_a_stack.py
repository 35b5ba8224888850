"""Exercises on the parts put together: a layer of Llama 4, the whole model, an answer."""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import linear

import llama4
from llama4lab.grading import Case, Exercise

from .parts_of_attention import of_the_file
from .parts_of_positions import CLOSE, unit_rms
from .small_llama4 import all_weights, config, layer_weights, normal

# ---- one layer ----


def layer(x, w, config, layer, before="input_layernorm", after="post_attention_layernorm", **twin):
    """One layer, [T, D] -> [T, D]; what is asked for beyond that are wrong twins."""

    def norm(name, y):
        weight = 1 if twin.get("bare") else w[f"{name}.weight"]
        return unit_rms(y, config.rms_norm_eps) * weight

    def feed_forward(y):
        y = llama4.experts(y[None], llama4.Weights(w))[0]
        return y - llama4.mlp(norm(after, h), w, "feed_forward.shared_expert") if twin.get("routed_only") else y

    if twin.get("norm_after"):
        h = norm(before, x + of_the_file(x, w, config, layer))
        return norm(after, h + feed_forward(h))
    normed = norm(before, x)
    h = of_the_file(x if twin.get("no_norm") else normed, w, config, layer)
    h = h + (0 if twin.get("no_residual") else normed if twin.get("from_normed") else x)
    y = feed_forward(h if twin.get("raw") else norm(after, x if twin.get("parallel") else h))
    if twin.get("shared_only"):
        y = llama4.mlp(norm(after, h), w, "feed_forward.shared_expert")
    return y if twin.get("no_residual") or twin.get("no_second") else h + y


def wrong_layer(**changes):
    return lambda x, w, config, layer_number: layer(x, w, config, layer_number, **changes)


def right_layer(x, w, config, layer_number):
    return layer(x, w, config, layer_number)


LAYER = Exercise(
    right=right_layer,
    cases=[
        Case(
            (normal(6, 8, seed=60), layer_weights(6), config(), 0),
            "Two sums: x and attention of its norm, then that and the experts of its norm.",
        ),
        Case((normal(5, 8, seed=61), layer_weights(7), config(), 3), "The global layer."),
        Case((normal(6, 8, seed=62), layer_weights(8), config(rms_norm_eps=0.1), 1), "rms_norm_eps is 0.1 here."),
    ],
    tolerance=CLOSE,
    mistakes={
        "What a block makes is added to what came in: keep x, and add.": wrong_layer(no_residual=True),
        "The second block adds, too: what attention made must not be lost.": wrong_layer(no_second=True),
        "A block reads a norm of the road and adds to the road itself; yours norms the road.": wrong_layer(
            norm_after=True
        ),
        "The norm before the experts is missing: router, experts and shared expert all read it.": wrong_layer(raw=True),
        "Add to x as it came in, not to its norm.": wrong_layer(from_normed=True),
        "Each norm has its weight: multiply by input_layernorm.weight, and by post_attention_layernorm.weight.": wrong_layer(
            bare=True
        ),
        "The second block has a norm of its own, post_attention_layernorm.": wrong_layer(after="input_layernorm"),
        "The norm before attention is missing.": wrong_layer(no_norm=True),
        "The experts read what attention has added, not what came in.": wrong_layer(parallel=True),
        "The shared expert is missing: every token passes it, with its own three matrices.": wrong_layer(
            routed_only=True
        ),
        "The routed expert is missing: every token passes the shared one and the one that its router picks.": wrong_layer(
            shared_only=True
        ),
    },
)

# ---- the whole model ----


def forward(ids, w, config, pieces=None, **twin):
    """Logits [T, V]; what is asked for beyond that are wrong twins."""
    x = w["model.embed_tokens.weight"][ids] * twin.get("times", 1)
    if pieces is not None and not twin.get("blind"):
        here = ids == config.image_token_index
        placed = torch.zeros_like(x).masked_scatter(here[:, None], pieces)
        x = placed + x if twin.get("added") else torch.where(here[:, None], placed, x)
        x = torch.cat([pieces, x[~here]]) if twin.get("in_front") else x
        x = torch.cat([pieces, w["model.embed_tokens.weight"][ids[len(pieces) :]]]) if twin.get("over") else x
    order = range(config.num_hidden_layers)
    for n in reversed(order) if twin.get("backward") else order:
        x = layer(x, w.under(f"model.layers.{0 if twin.get('first') else n}."), config, 0 if twin.get("alike") else n)
    if not twin.get("no_norm"):
        x = unit_rms(x, config.rms_norm_eps) * (1 if twin.get("bare") else w["model.norm.weight"])
    logits = linear(x, w["model.embed_tokens.weight" if twin.get("tied") else "lm_head.weight"])
    return logits.softmax(-1) if twin.get("shares") else logits


def wrong_model(**changes):
    return lambda ids, w, config, pieces=None: forward(ids, w, config, pieces, **changes)


def right_model(ids, w, config, pieces=None):
    return forward(ids, w, config, pieces)


TEXT, PICTURE = torch.tensor([3, 1, 4, 1, 5, 9, 2]), torch.tensor([3, 10, 10, 4, 10, 5])
FORWARD = Exercise(
    right=right_model,
    cases=[
        Case((TEXT, all_weights(1), config(), None), "Embedding, pictures, layers in order, norm, head."),
        Case((PICTURE, all_weights(2), config(), normal(3, 8, seed=70)), "Three pieces of a picture among the text."),
        Case(
            (torch.tensor([7, 7, 8, 3, 3]), all_weights(1), config(image_token_index=7), normal(2, 8, seed=71)),
            "config.image_token_index is 7 here.",
        ),
    ],
    tolerance=CLOSE,
    mistakes={
        "A layer has its number: it says whether it rotates and where its walls are. Yours treats all like layer 0.": (
            wrong_model(alike=True)
        ),
        "Each layer has its own weights, w.under(f'model.layers.{n}.').": wrong_model(first=True),
        "The layers run from the first to the last.": wrong_model(backward=True),
        "The last norm is missing: model.norm, before the head.": wrong_model(no_norm=True),
        "The last norm has a weight: multiply by model.norm.weight.": wrong_model(bare=True),
        "Return the logits themselves, without a softmax.": wrong_model(shares=True),
        "Pieces *replace* the embeddings of the tokens image_token_index; yours adds them.": wrong_model(added=True),
        "The head is a matrix of its own, lm_head.weight; Llama 4 does not share it with the embedding.": wrong_model(
            tied=True
        ),
        "The pieces of a picture are missing: they replace the embeddings of the tokens image_token_index.": wrong_model(
            blind=True
        ),
        "The pieces go where the tokens image_token_index are, not in front of the text.": [
            wrong_model(in_front=True),
            wrong_model(over=True),
        ],
        "Embeddings go in as they are: Llama 4 does not multiply them by the root of D.": wrong_model(times=8**0.5),
    },
)

# ---- an answer, token by token ----


@dataclass
class NextToken:
    """A model whose next token depends on the whole text; it gives up on a loop that does not end."""

    factor: int
    calls: int = field(default=0, compare=False)

    def __call__(self, ids):
        self.calls += 1
        if self.calls > 100:
            raise RuntimeError("The model was called 100 times: end at a token of `stop`, and after `most` tokens.")
        ids = torch.as_tensor(ids)
        return torch.nn.functional.one_hot((self.factor * ids.cumsum(0) + 1) % 11, 11).float()


def generate(logits_of, ids, stop, most):
    answer = []
    while len(answer) < most:
        token = int(logits_of(torch.cat([ids, torch.tensor(answer, dtype=torch.long)]))[-1].argmax())
        if token in stop:
            break
        answer.append(token)
    return answer


def generate_with(logits_of, ids, stop, most, place=-1, memory=True):
    answer, text = [], ids
    while len(answer) < most and (token := int(logits_of(text)[place].argmax())) not in stop:
        answer.append(token)
        text = torch.cat([text, torch.tensor([token])]) if memory else torch.tensor([token])
    return answer


def with_stop(logits_of, ids, stop, most):
    answer = generate(logits_of, ids, stop, most)
    text = torch.cat([ids, torch.tensor(answer, dtype=torch.long)])
    return answer + [int(logits_of(text)[-1].argmax())] * (len(answer) < most)


GENERATE = Exercise(
    right=generate,
    cases=[
        Case(
            (NextToken(5), torch.tensor([1, 2]), {1}, 20), "It ends at a stop token, which is not part of the answer."
        ),
        Case((NextToken(5), torch.tensor([1, 2]), {7}, 20), "Another stop token."),
        Case((NextToken(5), torch.tensor([1, 2]), {7}, 2), "At most two tokens."),
        Case((NextToken(6), torch.tensor([5]), {7, 1}, 20), "Two stop tokens; either of them ends it."),
        Case((NextToken(7), torch.tensor([2]), {4}, 5), "The first token is a stop token: the answer is empty."),
    ],
    returns="a list of token ids",
    mistakes={
        "The stop token ends the answer and is no part of it.": with_stop,
        "The text grows: without a cache, the model reads the prompt and all of the answer so far each time.": [
            lambda logits_of, ids, stop, most: generate_with(logits_of, ids, stop, most, memory=False),
            lambda logits_of, ids, stop, most: generate_with(logits_of, ids[-1:], stop, most, memory=False),
        ],
        "The next token follows the *last* one: take the last row of the logits.": lambda logits_of, ids, stop, most: (
            generate_with(logits_of, ids, stop, most, place=0)
        ),
        "Give the answer alone, without the prompt.": lambda logits_of, ids, stop, most: [
            *ids.tolist(),
            *generate(logits_of, ids, stop, most),
        ],
        "It ends after `most` tokens at the latest.": lambda logits_of, ids, stop, most: generate(
            logits_of, ids, stop, most + 50
        ),
        "No stop token ends it. A tensor is in no set: ask whether `stop` has the number, int(token).": (
            lambda logits_of, ids, stop, most: generate(logits_of, ids, set(), most)
        ),
        "Every token of `stop` ends it; yours knows one.": lambda logits_of, ids, stop, most: generate(
            logits_of, ids, {max(stop)}, most
        ),
    },
)
