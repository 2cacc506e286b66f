"""Chat-template families: the same conversation as each of them writes it.

The templates are written for this course, in Jinja, the language in which a tokenizer carries its own: one file per
family beside this one (open llama-3.jinja), and what is to be known of each in families.json. They write what each
family's released template writes for plain conversations (system, user, assistant), without tools; of thinking, what
a thinking family does to answers and history. `date_string` is today's date in all families that write one.
In the files each tag opens with a minus, which eats the white space before it: what is written is in the quotes alone.
Rendering is transformers' own, so `{% generation %}` marks work as they do in training. No model and no download is
needed.
"""

from .families import FAMILIES, Family, family, render
from .tokenizers import encode_safely, toy_tokenizer

__all__ = ["FAMILIES", "Family", "encode_safely", "family", "render", "toy_tokenizer"]
