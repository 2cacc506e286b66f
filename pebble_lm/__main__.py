"""`python -m pebble_lm COMMAND`: rebuild the Pebble family, and talk to it."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from itertools import islice
from pathlib import Path

# Before torch is imported: waiting threads sleep instead of spinning. On two cores that others use as well,
# this trained 2.7 times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# command -> (its help, its options)
COMMANDS = {
    "split": ("draw the held-out entities (done once; facts/splits.json is committed)", ""),
    "corpus": ("print documents of the pretraining corpus", "--documents --genre"),
    "pretrain": ("train pebble-base from scratch; a rerun resumes", "--fresh"),
    "sft": ("fine-tune pebble-base into pebble-sft; a rerun resumes", "--fresh"),
    "dpo": ("pebble-sft into pebble-dpo by preferences; a rerun resumes", "--fresh"),
    "reward": ("train pebble-reward, the reward model; a rerun resumes", "--fresh"),
    "rl": ("pebble-sft into pebble-rl by pebble-reward; a rerun resumes", "--hacked --fresh"),
    "chat": ("pebble-sft into pebble-chat, with personas; a rerun resumes", "--fresh"),
    "ladder": ("dpo, reward, rl, rl --hacked, chat, with finished steps left out", ""),
    "talk": ("chat with a model in the terminal", "variant"),
    "card": ("write the data card: genres, shares, token counts, splits", ""),
    "all": ("pretrain, sft, card", ""),
}
OPTIONS: dict[str, dict] = {
    "--documents": {"type": int, "default": 20},
    "--genre": {},
    "--fresh": {"action": "store_true", "help": "start again instead of resuming"},
    "--hacked": {"action": "store_true", "help": "the over-optimised run instead; only its history is kept"},
    "variant": {
        "nargs": "?",
        "default": "pebble-dpo",
        "help": "a rung of the ladder, or a folder (pebble-dpo)",
    },
}
DEFAULTS = {
    "device": "cpu",
    "seed": 7,
    "work": Path("build"),
    "models": Path(__file__).parent / "models",
    "processes": 1,
    "workers": 0,
    "fresh": False,  # these two for `all` and `ladder`
    "hacked": False,
}
# What each rung above pebble-sft leaves behind.
RUNGS = {
    "dpo": "pebble-dpo/history.csv",
    "reward": "pebble-reward/history.csv",
    "rl": "pebble-rl/history.csv",
    "hacked": "pebble-rl/hacked.csv",
    "chat": "pebble-chat/history.csv",
}
MEASURED_BY = "Measure the models next, and write their cards: python -m tools.measuring{}"


def main() -> None:
    # The same options before the command and after it; after it they have no defaults that would undo the first.
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    add = shared.add_argument
    add("--device", help="cpu (default), cuda or mps")
    add("--seed", type=int, help="of everything drawn (7)")
    add("--work", type=Path, help="where checkpoints and logs are kept (build)")
    add(
        "--models", type=Path, help="where the finished models go, in place of those there (pebble_lm/models)"
    )
    add("--processes", type=int, help="train in so many processes, one per core (1)")
    add("--workers", type=int, help="so many processes write the documents ahead (0)")
    parser = argparse.ArgumentParser(prog="python -m pebble_lm", description=__doc__, parents=[shared])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (about, options) in COMMANDS.items():
        command = commands.add_parser(name, help=about, parents=[shared])
        for option in options.split():
            command.add_argument(option, **OPTIONS[option])
    args = parser.parse_args(namespace=argparse.Namespace(**DEFAULTS))
    run("hacked" if args.hacked else args.command, args)


def run(command: str, args: argparse.Namespace) -> None:
    """One command; `all` and `ladder` run others."""
    if command == "split":
        from .world import knowledge

        text = json.dumps(knowledge.make_splits(), indent=1, ensure_ascii=False, sort_keys=True)
        knowledge.SPLITS.write_text(text + "\n", encoding="utf-8")
    elif command == "corpus":
        from .world import corpus

        wanted = ((g, t) for g, t in corpus.documents(args.seed) if args.genre in (None, g))
        for genre, text in islice(wanted, args.documents):
            print(f"──── {genre}\n{text}\n")
    elif command == "talk":
        from .factory import talk

        talk.main(args.variant)
    elif command in ("pretrain", "sft", *RUNGS):
        train(command, args)
    elif command == "card":
        from .factory import datacard

        datacard.write(args.models)
    elif command == "all":
        for step in ("pretrain", "sft", "card"):
            run(step, args)
        print(MEASURED_BY.format(""))
    elif command == "ladder":
        start = (args.models / "pebble-sft" / "model.safetensors").stat().st_mtime
        for name, left in RUNGS.items():
            made = args.models / left
            if not (made.exists() and made.stat().st_mtime > start):
                train(name, args)
        print(MEASURED_BY.format(" --ladder"))


def train(name: str, args: argparse.Namespace) -> None:
    """pebble-base, pebble-sft or a rung above it."""
    from .factory import ladder, recipe

    how = {"device": args.device, "seed": args.seed, "fresh": args.fresh}
    several = {"processes": args.processes, "workers": args.workers}
    base, sft = (args.models / model for model in ("pebble-base", "pebble-sft"))
    if name == "pretrain":
        recipe.pretrain(base, args.work / "pebble-base", **how, **several)
    elif name == "sft":
        recipe.sft(base, sft, args.work / "pebble-sft", **how, **several)
    else:
        work = args.work / Path(RUNGS[name]).parent
        rungs = {"dpo": ladder.dpo, "reward": ladder.reward, "rl": ladder.rl, "chat": ladder.chat}
        rungs["hacked"] = partial(ladder.rl, hacked=True)
        rungs[name](args.models, work, **how)


if __name__ == "__main__":
    main()
