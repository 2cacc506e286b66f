"""`python -m course_utils.pebble COMMAND`: rebuild and evaluate the Pebble family."""

from __future__ import annotations

import argparse
import json
import os
from itertools import islice
from pathlib import Path

# Before torch is imported: waiting threads sleep instead of spinning. On two cores that others use as well,
# this trained 2.7 times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course_utils.pebble", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--work", type=Path, default=Path("build"), help="where checkpoints and logs are kept"
    )
    parser.add_argument("--models", type=Path, default=None, help="where the finished models go")
    parser.add_argument("--processes", type=int, default=1, help="train in so many processes, one a core")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "split", help="draw the held-out entities (done once; facts/splits.json is committed)"
    )
    show = commands.add_parser("corpus", help="print documents of the pretraining corpus")
    show.add_argument("--documents", type=int, default=20)
    show.add_argument("--genre", default=None)
    pretrain = commands.add_parser("pretrain", help="train pebble-base from scratch; a rerun resumes")
    pretrain.add_argument(
        "--compile", action="store_true", help="a third faster with torch.compile; needs a C++ compiler"
    )
    sft = commands.add_parser("sft", help="fine-tune pebble-base into pebble-sft; a rerun resumes")
    for command in (pretrain, sft):
        command.add_argument("--fresh", action="store_true", help="start again instead of resuming")
    evaluate = commands.add_parser(
        "evaluate", help="measure the models and write the figures into their cards"
    )
    evaluate.add_argument("--split", choices=["dev", "test"], default="test")
    evaluate.add_argument("--no-cards", action="store_true", help="print only")
    commands.add_parser("card", help="write the data card: genres, shares, token counts, splits")
    commands.add_parser("all", help="pretrain, sft, evaluate, card")
    args = parser.parse_args()

    if args.command == "split":
        from . import knowledge

        text = json.dumps(knowledge.make_splits(), indent=1, ensure_ascii=False, sort_keys=True)
        knowledge.SPLITS.write_text(text + "\n", encoding="utf-8")
        return
    if args.command == "corpus":
        from . import corpus

        wanted = ((g, t) for g, t in corpus.documents(args.seed) if args.genre in (None, g))
        for genre, text in islice(wanted, args.documents):
            print(f"──── {genre}\n{text}\n")
        return

    from . import recipe

    models = args.models or recipe.MODELS
    fresh = getattr(args, "fresh", False)
    if args.command in ("pretrain", "all"):
        recipe.pretrain(
            models / "pebble-base",
            args.work / "pebble-base",
            device=args.device,
            seed=args.seed,
            processes=args.processes,
            compiled=getattr(args, "compile", False),
            fresh=fresh,
        )
    if args.command in ("sft", "all"):
        recipe.sft(
            models / "pebble-base",
            models / "pebble-sft",
            args.work / "pebble-sft",
            device=args.device,
            seed=args.seed,
            processes=args.processes,
            fresh=fresh,
        )
    if args.command in ("evaluate", "all"):
        from . import evaluation

        evaluation.run(
            models, split=getattr(args, "split", "test"), cards=not getattr(args, "no_cards", False)
        )
    if args.command in ("card", "all"):
        from . import datacard

        datacard.write(models)


if __name__ == "__main__":
    main()
