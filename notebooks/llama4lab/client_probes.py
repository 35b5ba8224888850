"""What an OpenAI-compatible server really does with a request: one small probe a question, the same for each engine.

Each probe takes the official client and the model's name, and returns a short text. Notebook 17 asks the engines that
run beside it; `assets/recipes/vllm_on_cpu.py` asks vLLM and records the answers.
"""

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai
from PIL import Image, ImageDraw

QUESTIONS = (
    "In which country is Lisbon?",
    "Hello!",
    "Nina has the key. The key is red. What color is the thing that Nina has?",
    "Hugo lives in Oslo. Clara lives in Lima. Where does Hugo live?",
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def connect(server) -> openai.OpenAI:
    """The official client of a `launch.Server`. Without trust_env=False it would use your environment's proxies."""
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=server.base_url, api_key=server.key, http_client=http, max_retries=1, timeout=60)


def ask(client: openai.OpenAI, model: str, content, **options):
    """One user message, answered greedily; options replace those here."""
    options = {"temperature": 0, "max_tokens": 24} | options
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}], **options)


def text_of(response) -> str:
    return response.choices[0].message.content or ""


def answers(client: openai.OpenAI, model: str) -> list[str]:
    """The greedy answers to QUESTIONS."""
    return [text_of(ask(client, model, question)) for question in QUESTIONS]


def streams(client: openai.OpenAI, model: str) -> str:
    """Does a streamed answer add up to the plain one?"""
    plain = text_of(ask(client, model, QUESTIONS[2]))
    chunks = ask(client, model, QUESTIONS[2], stream=True)
    streamed = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return "same text" if streamed == plain else f"another text: {streamed!r}"


def serves_several(client: openai.OpenAI, model: str) -> str:
    """Do four callers at once get the answers that each gets alone?"""
    alone = answers(client, model)
    with ThreadPoolExecutor(len(QUESTIONS)) as callers:
        together = [text_of(answer) for answer in callers.map(lambda question: ask(client, model, question), QUESTIONS)]
    return "own answers" if together == alone else "other answers than alone"


def returns_n(client: openai.OpenAI, model: str) -> str:
    return f"{len(ask(client, model, QUESTIONS[1], n=3, temperature=1).choices)} of 3"


def stops_at_text(client: openai.OpenAI, model: str) -> str:
    """What is left of "Hello! How can I help you?" where `stop` is "can"?"""
    return repr(text_of(ask(client, model, QUESTIONS[1], stop=["can"])))


def knows_the_end(client: openai.OpenAI, model: str) -> str:
    """Why does a short answer end, and does the end-of-turn token show in its text?"""
    response = ask(client, model, QUESTIONS[0], max_tokens=60)
    return response.choices[0].finish_reason + (", token shown" if "<|" in text_of(response) else "")


def gives_logprobs(client: openai.OpenAI, model: str) -> str:
    logprobs = ask(client, model, QUESTIONS[0], logprobs=True, top_logprobs=3).choices[0].logprobs
    return f"top {len(logprobs.content[0].top_logprobs)}" if logprobs and logprobs.content else "none, no error"


def reads_a_call(client: openai.OpenAI, model: str) -> str:
    """Is a tool call handed over as one, or as text?"""
    message = ask(client, model, "What is the weather in Oslo?", tools=[WEATHER], max_tokens=40).choices[0].message
    if message.tool_calls:
        return f"call: {message.tool_calls[0].function.arguments}"
    return "as text" if "get_weather" in (message.content or "") else f"no call: {message.content!r}"


def forces_json(client: openai.OpenAI, model: str) -> str:
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Lima"]}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    return repr(text_of(ask(client, model, QUESTIONS[3], response_format=form)))


def red_square() -> str:
    """A picture of one tile as a data URL."""
    picture = Image.new("RGB", (48, 48), (128, 128, 128))
    ImageDraw.Draw(picture).rectangle((5, 5, 20, 20), fill=(220, 40, 40))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def sees(client: openai.OpenAI, model: str) -> str:
    picture = {"type": "image_url", "image_url": {"url": red_square()}}
    return repr(text_of(ask(client, model, [picture, {"type": "text", "text": "What color is the square?"}])))


def checks_the_key(client: openai.OpenAI, model: str) -> str:
    try:
        ask(client.with_options(api_key="wrong"), model, QUESTIONS[1])
    except openai.AuthenticationError:
        return "refused"
    return "let in"


def checks_the_name(client: openai.OpenAI, model: str) -> str:
    try:
        ask(client, "another-model", QUESTIONS[1])
    except openai.APIStatusError as error:
        return f"error {error.status_code}"
    return "answers all the same"


PROBES: dict[str, Callable[[openai.OpenAI, str], str]] = {
    "a stream adds up to": streams,
    "four callers at once get": serves_several,
    "n=3 gives": returns_n,
    "stop='can' leaves": stops_at_text,
    "an answer ends by": knows_the_end,
    "logprobs": gives_logprobs,
    "a tool call comes": reads_a_call,
    "a forced JSON answer": forces_json,
    "a wrong key is": checks_the_key,
    "another model's name": checks_the_name,
    "a picture's color": sees,
}


def probe(client: openai.OpenAI, model: str) -> dict[str, str]:
    """The answers of all probes; where a request fails, its status or the kind of error."""
    told = {}
    for name, question in PROBES.items():
        try:
            told[name] = question(client, model)
        except openai.APIStatusError as error:
            told[name] = f"error {error.status_code}"
        except openai.APIConnectionError:
            told[name] = "no answer"
    return told


AS_ASKED = {"same text", "own answers", "3 of 3", "'Hello! How '", "stop", "top 3", "refused", "'red.'"}


def verdict(name: str, answer: str) -> str:
    """What became of the request of a probe: as asked, an error, or something else that the client is not told of."""
    is_error = answer.startswith("error") or answer == "no answer"
    if (
        answer in AS_ASKED
        or '"city"' in answer
        or answer.startswith("call")
        or (name == "another model's name" and is_error)
    ):
        return "as asked"
    return "an error" if is_error else "something else, silently"
