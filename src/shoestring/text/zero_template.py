"""R1-Zero's way of asking (arXiv 2501.12948, table 1): no chat format, a described dialogue whose assistant
thinks before it answers. What it says is the paper's, the words are ours; nothing is said of how to think."""

from shoestring.text.template import Template
from shoestring.text.tokenizer import Tokenizer

DESCRIBED = (
    "This is a dialogue of a User and an Assistant. The User asks a question, and the Assistant solves it: "
    "it first reasons about the question in its mind and then gives the User the answer. The reasoning "
    "stands between <think> and </think>, the answer between <answer> and </answer>, like this: <think> the "
    "reasoning </think> <answer> the answer </answer>."
)
# a system message, where there is one, comes first; the description stands before the first question
ZERO_TEMPLATE_SOURCE = """{%- set ns = namespace(described=false) %}
{%- for m in messages %}
    {%- if m.role == 'system' %}
        {{- m.content + '\\n' }}
    {%- elif m.role == 'user' %}
        {{- ('\\n' if ns.described else 'DESCRIBED ') + 'User: ' + m.content + ' Assistant:' }}
        {%- set ns.described = true %}
    {%- else %}
        {{- ' ' + m.content + eos_token }}
    {%- endif %}
{%- endfor %}""".replace("DESCRIBED", DESCRIBED)


def zero_template(tokenizer: Tokenizer, end_ids: tuple[int, ...]) -> Template:
    """For a model whose turns end with `end_ids`."""
    return Template(tokenizer, ZERO_TEMPLATE_SOURCE, end_ids)
