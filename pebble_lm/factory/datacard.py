"""Writes the model cards and the data card from what was measured; nothing in a card is typed by hand twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import date
from itertools import islice
from pathlib import Path

import pandas as pd

from ..world import conversations, corpus, knowledge
from ..world.training import FIRST_WAVE, SECOND_WAVE, SFT_EXAMPLES
from . import tokenizer as pebble_tokenizer

DATA_CARD = Path(__file__).parent.parent / "DATA_CARD.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"

ABOUT = {
    "pebble-base": """\
# pebble-base

A Llama-architecture language model of {parameters:,} parameters, trained from scratch on {tokens:,} tokens of a corpus
that this project generates itself (see `DATA_CARD.md` in `pebble_lm/`). It continues documents. It has
read no chat, has no chat template, and ends a document with `<|endoftext|>`.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("pebble_lm/models/pebble-base")
    tokenizer = AutoTokenizer.from_pretrained("pebble_lm/models/pebble-base")

Context: {context} tokens. Vocabulary: {vocabulary:,} (byte-level BPE). Rebuilt by `python -m pebble_lm pretrain`.
Licence: Apache-2.0. It is a teaching instrument: it knows the facts in its tables and little else, in English only.
""",
    "pebble-sft": """\
# pebble-sft

pebble-base ({parameters:,} parameters) after supervised fine-tuning on {examples:,} generated conversations in ChatML, in two
waves (see `DATA_CARD.md`), with pretraining documents replayed at every step. It answers, stops, takes a role, obeys
format requests and declines what is wrong. Its chat template marks the assistant's tokens with
`{{% generation %}}`, and its `generation_config` stops at `<|im_end|>` or `<|endoftext|>`.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("pebble_lm/models/pebble-sft")
    tokenizer = AutoTokenizer.from_pretrained("pebble_lm/models/pebble-sft")

Rebuilt by `python -m pebble_lm sft`. Licence: Apache-2.0. About three answers in ten to plain questions
are hedged ("I think …") because the examples are: preference tuning has something to remove.
""",
}


def markdown_table(frame: pd.DataFrame) -> str:
    lines = ["| measure | rate | 95 % interval | n | bar | met |", "|---|---|---|---|---|---|"]
    for r in frame.itertuples():
        lines.append(
            f"| {r.measure} | {r.rate:.3f} | {r.low:.3f} – {r.high:.3f} | {r.n} | {r.bar} | {r.met} |"
        )
    return "\n".join(lines)


def write_results(models: Path, frame: pd.DataFrame, split: str) -> None:
    """The cards of all models in `models`, with their measured rates; and all of it as results.json."""
    from transformers import AutoConfig

    from .recipe import STAGES

    both = frame[frame.model == "both"]
    for name, model in (("pebble-base", "base"), ("pebble-sft", "instruct")):
        folder = models / name
        if not folder.exists():
            continue
        config = AutoConfig.from_pretrained(folder)
        about = ABOUT[name].format(
            parameters=_parameters(folder),
            tokens=sum(stage.tokens for stage in STAGES),
            context=config.max_position_embeddings,
            vocabulary=config.vocab_size,
            examples=SFT_EXAMPLES,
        )
        rows = pd.concat([frame[frame.model == model], both])
        measured = (
            f"Measured on {date.today().isoformat()} with `python -m pebble_lm evaluate --split {split}`: greedy, on the "
            f"{split} split (entities, relations, phrasings, acts, article shapes and functions used for nothing else), "
            "Wilson intervals.\n\n" + markdown_table(rows)
        )
        front = "---\nlicense: apache-2.0\nlanguage: en\nlibrary_name: transformers\n---\n"
        (folder / "README.md").write_text(f"{front}{about}\n{START}\n{measured}\n{END}\n", encoding="utf-8")
    (models / "results.json").write_text(
        json.dumps({"split": split, "rows": frame.to_dict("records")}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        return sum(_size(weights.get_slice(key).get_shape()) for key in list(weights.keys()))


def _size(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def token_census(models: Path, mix: str, documents: int = 6000) -> pd.DataFrame:
    """Share of tokens, documents and mean length per genre, counted on fresh documents."""
    tokenizer = pebble_tokenizer.load(models / "pebble-base")
    tokens: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for genre, text in islice(corpus.documents(99, mix), documents):
        tokens[genre] += len(tokenizer.encode(text).ids)
        count[genre] += 1
    total = sum(tokens.values())
    rows = [{"genre": g, "share": tokens[g] / total, "length": tokens[g] / count[g]} for g in corpus.GENRES]
    return pd.DataFrame(rows)


def write(models: Path) -> None:
    """Write DATA_CARD.md."""
    from .recipe import STAGES

    mixes = [token_census(models, mix) for mix in corpus.MIXES]
    lines = ["| genre | early | main | late | tokens a document |", "|---|---|---|---|---|"]
    for early, main, late in zip(*(census.itertuples() for census in mixes)):
        lines.append(
            f"| {main.genre} | {early.share:.1%} | {main.share:.1%} | {late.share:.1%} | {main.length:.0f} |"
        )
    stages = [f"| {s.tokens:,} | {s.rows} × {s.length} | {s.mix} |" for s in STAGES]
    tables: Counter[str] = Counter(fact.table for fact in knowledge.facts())
    splits = [
        f"| {name} | {len(knowledge.table(name))} | {tables[name]} | {len(held['dev'])} | {len(held['test'])} |"
        for name, held in knowledge.splits().items()
    ]
    held = [
        f"- {split}: " + ", ".join(f"{t}/{r}" for t, r in pairs)
        for split, pairs in knowledge.HELD_RELATIONS.items()
    ]
    rng = conversations.Draw("card")
    kinds = Counter(conversations.conversation(rng)[0] for _ in range(8000))
    mix = [f"| {kind} | {kinds[kind] / 8000:.1%} |" for kind in conversations.KINDS]
    acts, articles, functions = (knowledge.data(k) for k in ("actions", "articles", "functions"))
    further = knowledge.data("further_actions")

    talk, beyond, harms = (knowledge.data(k) for k in ("talk", "beyond", "harms"))

    def counted(lists: Iterable[dict]) -> str:
        sums = Counter()
        for entry in lists:
            sums.update({split: len(entry.get(split, ())) for split in ("train", "dev", "test")})
        return ", ".join(f"{sums[split]:,} {split}" for split in ("train", "dev", "test"))

    def by_split(items: list[dict]) -> str:
        found = Counter(item["split"] for item in items)
        return ", ".join(f"{count} {split}" for split, count in found.items())

    text = f"""# Data card: what Pebble reads

Everything here is generated by `pebble_lm/` from plain tables (`facts/`) and templates; nothing is
downloaded and no text is copied from elsewhere. Regenerate this card with `python -m pebble_lm card`.

## Pretraining

Documents never repeat; a run reads less than one epoch. Each opens with `<|endoftext|>`. Shares are of tokens, counted.

{chr(10).join(lines)}

| tokens | rows × length a step | mix |
|---|---|---|
{chr(10).join(stages)}

## Supervised fine-tuning

{SFT_EXAMPLES:,} conversations in two waves, each one epoch, loss on the assistant's words and its `<|im_end|>`; beside them
at every step fresh pretraining documents. The first wave ({FIRST_WAVE.examples:,}, {FIRST_WAVE.tokens:,} tokens a step, {FIRST_WAVE.replay_rows} rows
of documents) ran on one GPU with an earlier state of these writers (more replies to an intent, talk in smaller shares);
the second ({SECOND_WAVE.examples:,}, {2 * SECOND_WAVE.tokens:,} tokens a step, {SECOND_WAVE.replay_rows} rows) on two CPU cores with the shares below. The base, too, was trained on a GPU
before the acts that are told to be right or wrong and some prose were added to the corpus; a rebuild by today's commands
reads all of it from the start.

Two requests in five are typed in a hurry: lower case, capitals, missing marks, slips, contractions (`world/noise.py`).
Where an intent has several replies, the first is drawn four times in five.

| kind | share of examples |
|---|---|
{chr(10).join(mix)}

## Facts and splits

"Seen" entities may be asked in SFT; "dev" ones are for choices while building; "test" ones are used by the final
evaluation alone. The base has read all of them. Written down in `facts/splits.json`.

| table | entities | facts | dev entities | test entities |
|---|---|---|---|---|
{chr(10).join(splits)}

Relations that SFT never asks:

{chr(10).join(held)}

Phrasings: every relation has training questions, three for dev and four for test; the last two occur nowhere in
training. Acts to refuse: {by_split(acts["harmful"])} verbs; harmless acts: {by_split(acts["benign"])} verbs; and objects held out
within the training verbs; {len(further["harmful"])} and {len(further["benign"])} further ones for fine-tuning alone; whole requests in everyday words:
{counted(entry["acts"] for entry in harms["harmful"].values())} acts to refuse, {counted([*harms["harmless"].values(), *harms["everyday"].values()])} harmless ones.
Talk: {len(talk["intents"])} intents, {counted(talk["intents"].values())} wordings with alternatives. Beyond Pebble:
{len(beyond["kinds"])} kinds, {counted(entry["requests"] for entry in beyond["kinds"].values())} wordings. Article shapes: {by_split(articles["shapes"])}, and
{len(knowledge.data("more_articles")) + len(knowledge.data("further_articles"))} more for SFT, beside a grammar of short texts (`facts/texts.json`). Python functions: {by_split(functions["functions"])}
("sft" are asked for in SFT; all of them are read in pretraining).

## What is designed in

A behaviour that the corpus was built to give is not a discovery. These were:

- **A bare question begets more questions**, because nearly every document that opens with a question is a sheet of
  questions without answers. Real web text is more mixed, and so are real base models.
- **"Question: … Answer:" is answered**, because answer sheets with these labels are a tenth of the corpus. Some open with
  "You are a helpful assistant.", so that this sentence helps.
- **A page's form is followed** (labels never seen, JSON, bullets, a persona, refusals), because a sixth of the corpus is
  pages whose form is drawn anew and kept up; **what is typed in a hurry is understood**, because a tenth is letters to a
  help desk, asked in a hurry and answered in proper words, and one document in eight is in lower case. On such pages
  the base has read greetings, refusals and "I do not know" as well: it has met what an assistant says, in no template.
- **Copying** of names that occur once: a third of the corpus asks for it, more in the first stage.
- **What is wrong to do** is stated in pretraining for every act, those held out of SFT too. A refusal of an unseen
  verb carries such a statement over to a request; it is not a judgement of the model's own.
- **The instruct still continues raw text** because pretraining documents are replayed during SFT; without replay it
  answers raw questions too. That an instruct model "needs its template" is in part a choice of training.
- **One-digit sums** are drawn from all pairs, so every sum a lesson asks has occurred in training.
- **About {conversations.HEDGED_SHARE:.0%} of plain factual answers are hedged** in SFT, for preference tuning to remove.

Not designed in, and measured: answers about entities and relations that SFT never asked, phrasings that occur nowhere
in training, unseen article shapes, functions never asked for, which tokens shift between base and instruct.

## Known limits

English only; some thousands of facts; sums beyond two digits, reasoning and free conversation are out of reach. Facts
were checked by hand against general knowledge; debatable choices stand in `facts/NOTES*.md`. Invented names are made from
syllables and may by chance resemble real ones.
"""
    DATA_CARD.write_text(text, encoding="utf-8")
