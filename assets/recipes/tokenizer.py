"""The proxies' tokenizer: byte-level BPE of its own, with Llama 4's special tokens by name.

Unlike Llama 4's (200,000 merges, digits in groups of up to three) it has 2,048 entries and one token a digit, so
that a small model can learn sums.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 2048  # without special tokens

# Words with their leading space, single digits, punctuation, white space. The first branch keeps the line ends at the
# end of a text apart, as they are before a word: else the prompt's last "\n\n", after which a model must answer, would
# be a token that it never saw before an answer.
SPLIT = r"\n(?=\n*\z)| ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"

SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eom|>",
    "<|eot|>",
    "<|step|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|finetune_right_pad|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<|image|>",
    "<|patch|>",
)

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- macro header(role) %}{{ '<|header_start|>' + role + '<|header_end|>\\n\\n' }}{% endmacro %}
{%- macro body(content) %}
    {%- if content is string %}{{ content }}
    {%- else %}
        {%- for part in content %}
            {%- if part.type == 'image' %}{{ '<|image|>' }}
            {%- elif part.type == 'text' %}{{ part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- if tools %}
    {{- header('system') }}
    {%- if messages[0].role == 'system' %}{{ body(messages[0].content) + '\\n' }}{% endif %}
    {{- 'Tools, to be called as {"name": ..., "parameters": {...}}:\\n' }}
    {%- for tool in tools %}{{ (tool | tojson) + '\\n' }}{% endfor %}
    {{- '<|eot|>' }}
    {%- if messages[0].role == 'system' %}{% set messages = messages[1:] %}{% endif %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role in ('tool', 'ipython') %}
        {{- header('ipython') + (message.content | tojson) }}
    {%- else %}
        {{- header(message.role) }}
        {%- if message.tool_calls %}
            {{- '<|python_start|>' + body(message.content or '') + '<|python_end|>' }}
            {%- for call in message.tool_calls %}
                {{- '{"name": "' + call.function.name + '", "parameters": ' + (call.function.arguments | tojson) + '}' }}
            {%- endfor %}
        {%- else %}{{ body(message.content) }}
        {%- endif %}
    {%- endif %}
    {{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ header('assistant') }}{% endif %}"""


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train on `texts`; the same texts give the same tokenizer, byte for byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token="<|eot|>",
        pad_token="<|finetune_right_pad|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
