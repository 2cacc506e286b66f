"""`python -m pebble_lm COMMAND`: rebuild and evaluate the Pebble family."""

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
    parser = argparse.ArgumentParser(prog="python -m pebble_lm", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--work", type=Path, default=Path("build"), help="where checkpoints and logs are kept"
    )
    parser.add_argument("--models", type=Path, default=None, help="where the finished models go")
    parser.add_argument("--processes", type=int, default=1, help="train in so many processes, one a core")
    parser.add_argument("--workers", type=int, default=0, help="so many processes write the documents ahead")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "split", help="draw the held-out entities (done once; facts/splits.json is committed)"
    )
    show = commands.add_parser("corpus", help="print documents of the pretraining corpus")
    show.add_argument("--documents", type=int, default=20)
    show.add_argument("--genre", default=None)
    pretrain = commands.add_parser("pretrain", help="train pebble-base from scratch; a rerun resumes")
    sft = commands.add_parser("sft", help="fine-tune pebble-base into pebble-sft; a rerun resumes")
    dpo = commands.add_parser("dpo", help="pebble-sft into pebble-dpo by preferences; a rerun resumes")
    reward = commands.add_parser("reward", help="train pebble-reward, the reward model; a rerun resumes")
    rl = commands.add_parser("rl", help="pebble-sft into pebble-rl by pebble-reward; a rerun resumes")
    rl.add_argument(
        "--hacked", action="store_true", help="the over-optimised run instead; only its history is kept"
    )
    chat = commands.add_parser("chat", help="pebble-sft into pebble-chat, with personas; a rerun resumes")
    for command in (pretrain, sft, dpo, reward, rl, chat):
        command.add_argument("--fresh", action="store_true", help="start again instead of resuming")
    evaluate = commands.add_parser(
        "evaluate", help="measure the models and write the figures into their cards"
    )
    evaluate.add_argument("--split", choices=["dev", "test"], default="test")
    evaluate.add_argument("--no-cards", action="store_true", help="print only")
    further = commands.add_parser(
        "evaluate-ladder", help="measure pebble-sft and what was made of it, and write their cards"
    )
    further.add_argument("--split", choices=["dev", "test"], default="test")
    further.add_argument("--no-cards", action="store_true", help="print only")
    further.add_argument("--n", type=int, default=200, help="prompts a measure (200)")
    commands.add_parser(
        "ladder", help="dpo, reward, rl, rl --hacked, chat, evaluate-ladder, with finished steps left out"
    )
    talk = commands.add_parser("talk", help="chat with a model in the terminal")
    talk.add_argument(
        "variant", nargs="?", default="pebble-dpo", help="a rung of the ladder, or a folder (pebble-dpo)"
    )
    commands.add_parser("card", help="write the data card: genres, shares, token counts, splits")
    commands.add_parser("all", help="pretrain, sft, evaluate, card")
    args = parser.parse_args()

    if args.command == "split":
        from .world import knowledge

        text = json.dumps(knowledge.make_splits(), indent=1, ensure_ascii=False, sort_keys=True)
        knowledge.SPLITS.write_text(text + "\n", encoding="utf-8")
        return
    if args.command == "corpus":
        from .world import corpus

        wanted = ((g, t) for g, t in corpus.documents(args.seed) if args.genre in (None, g))
        for genre, text in islice(wanted, args.documents):
            print(f"──── {genre}\n{text}\n")
        return

    if args.command == "talk":
        from .factory import talk as talking

        talking.main(args.variant)
        return

    from .factory import recipe

    models = args.models or recipe.MODELS
    fresh = getattr(args, "fresh", False)
    if args.command in ("pretrain", "all"):
        recipe.pretrain(
            models / "pebble-base",
            args.work / "pebble-base",
            device=args.device,
            seed=args.seed,
            processes=args.processes,
            workers=args.workers,
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
            workers=args.workers,
            fresh=fresh,
        )
    if args.command in ("evaluate", "all"):
        from .factory import evaluation

        evaluation.run(
            models, split=getattr(args, "split", "test"), cards=not getattr(args, "no_cards", False)
        )
    if args.command in ("card", "all"):
        from .factory import datacard

        datacard.write(models)
    _ladder(args, models, fresh)


def _ladder(args: argparse.Namespace, models: Path, fresh: bool) -> None:
    """The rungs above pebble-sft. `ladder` leaves out those that are newer than pebble-sft."""
    rungs = {  # command -> (what it leaves behind, work folder, further arguments)
        "dpo": ("pebble-dpo/history.csv", "pebble-dpo", {}),
        "reward": ("pebble-reward/history.csv", "pebble-reward", {}),
        "rl": ("pebble-rl/history.csv", "pebble-rl", {}),
        "hacked": ("pebble-rl/hacked.csv", "pebble-rl", {"hacked": True}),
        "chat": ("pebble-chat/history.csv", "pebble-chat", {}),
    }
    command = "hacked" if args.command == "rl" and args.hacked else args.command
    if command in (*rungs, "ladder"):
        from .factory import ladder

        start = (models / "pebble-sft" / "model.safetensors").stat().st_mtime
        for name in rungs if command == "ladder" else [command]:
            left, work, further = rungs[name]
            done = (models / left).exists() and (models / left).stat().st_mtime > start
            if command == "ladder" and done:
                continue
            train = getattr(ladder, "rl" if name == "hacked" else name)
            train(models, args.work / work, device=args.device, seed=args.seed, fresh=fresh, **further)
    if command in ("evaluate-ladder", "ladder"):
        from .factory import ladder_evaluation

        ladder_evaluation.run(
            models,
            split=getattr(args, "split", "test"),
            cards=not getattr(args, "no_cards", False),
            n=getattr(args, "n", 200),
        )


if __name__ == "__main__":
    main()
