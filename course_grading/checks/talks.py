"""Fresh conversations for checks: little sums with names, so that no two are alike. Needs no torch."""

from random import Random

NAMES = ("Lena", "Tariq", "Mei", "Oskar", "Ada", "Bruno", "Ife", "Nora", "Pavel", "Rosa", "Sven", "Yara")
THINGS = ("pears", "kites", "bricks", "drums", "ferns", "maps", "coins", "boats", "stamps", "chairs")
SYSTEMS = (
    "Answer in one sentence.",
    "You are a helpful assistant.",
    "Be kind.",
    "You are an assistant who counts well.",
)

Messages = list[dict[str, str]]


def exchange(rng: Random) -> tuple[str, str]:
    """A question and its answer."""
    name, thing, n = rng.choice(NAMES), rng.choice(THINGS), rng.randint(12, 900)
    k = rng.randint(2, 9)
    asked = rng.choice(
        [
            (f"{name} has {n} {thing} and gives {k} away. How many are left?", f"{n - k} {thing} are left."),
            (
                f"{name} has {n} {thing} and finds {k} more. How many are there?",
                f"There are {n + k} {thing}.",
            ),
            (f"Who has {n} {thing}, {name} or the assistant?", f"{name} has {n} {thing}."),
        ]
    )
    return asked


def conversation(
    rng: Random, exchanges: int = 1, system: str | None = None, open_end: bool = False
) -> Messages:
    """Messages of `exchanges` questions and answers, the last of them unanswered if `open_end`."""
    messages = [{"role": "system", "content": system}] if system else []
    for _ in range(exchanges):
        question, answer = exchange(rng)
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages[:-1] if open_end else messages


def a_system(rng: Random) -> str:
    """A system message."""
    return rng.choice(SYSTEMS)
