"""Training on models, templates and data that are unlike Pebble's."""

import pandas as pd
import pytest
from tiny import tiny_llama, tiny_tokenizer

from course_utils import train
from course_utils.train import preference, rows
from course_utils.variant import Variant

QUIET = {"progress": False, "precision": "float32"}
ASKED = {"capital of France": "Paris", "capital of Italy": "Rome", "two plus two": "Four"}
EXAMPLES = [
    [
        {"role": "user", "content": f"What is the {question}?"},
        {"role": "assistant", "content": f"{answer}."},
    ]
    for question, answer in ASKED.items()
]
DOUBT = [{"role": "assistant", "content": "I do not know."}]
PAIRS = [{"prompt": talk[:1], "chosen": talk[1:], "rejected": DOUBT} for talk in EXAMPLES]


@pytest.fixture
def chat():
    model = tiny_llama(384, seed=3, initializer_range=0.1, eos=[2, 0])
    return Variant("tiny-chat", model, tiny_tokenizer(chat=True))


# -- tables ----------------------------------------------------------------------------------------------------


def test_a_table_is_read_row_by_row(chat):
    table = pd.DataFrame({"prompt": ["Say ", "Now "], "completion": ["Rome", "Paris"]})
    given = rows.encode(chat.tokenizer, table.to_dict("records"))
    assert rows.encode(chat.tokenizer, table) == given
    assert rows.encode(chat.tokenizer, table.iloc[::-1]) == given[::-1]
    talks = rows.encode(chat.tokenizer, EXAMPLES)
    as_arrays = [pd.Series(talk).to_numpy() for talk in EXAMPLES]  # as pandas reads them from a parquet file
    assert rows.encode(chat.tokenizer, pd.DataFrame({"messages": as_arrays})) == talks
    assert rows.encode(chat.tokenizer, pd.Series(EXAMPLES)) == talks
    encoded = preference.encode_preferences(chat.tokenizer, PAIRS)
    assert preference.encode_preferences(chat.tokenizer, pd.DataFrame(PAIRS)) == encoded
    assert len(train.sft(chat, table, steps=1, **QUIET).history) == 1
