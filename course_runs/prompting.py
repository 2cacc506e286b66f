"""Ways of prompting on the scoreboard: a prompt as a column, and one outcome for each prompt from several measures.

`prompted` makes a column from a document; `passed`, `rates` and `versus` count what came of it, `side_by_side` and
`paired_table` show comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from course_utils.evaluate.paired import Comparison, compare_outcomes
from course_utils.evaluate.stats import wilson

if TYPE_CHECKING:
    from course_utils.evaluate.board import Scoreboard
    from course_utils.variant import Completion, Variant


def prompted(
    variant: Variant, document: Callable[[str], Any], stop: str | Sequence[str] | None = None
) -> Callable[..., list[Completion]]:
    """A column of the scoreboard: `document` turns a prompt into what the variant reads, `stop` ends what it writes.

    A document that is a text is continued; one that is a list of messages is answered through the chat template.
    """

    def ask(
        prompts: list[str], max_new_tokens: int, temperature: float, seed: int | None
    ) -> list[Completion]:
        documents = [document(prompt) for prompt in prompts]
        write = variant.complete_batch if isinstance(documents[0], str) else variant.chat_batch
        settings = {"temperature": temperature, "seed": seed, "stop": stop, "batch_size": 32}
        return write(documents, max_new_tokens=max_new_tokens, progress=False, **settings)

    return ask


def passed(board: Scoreboard, measures: str | Iterable[str], kinds: Iterable[str] | None = None) -> pd.Series:
    """For each column, suite and item: did it pass all of these measures that its kind is judged by?

    Items that none of the measures judges are left out; `kinds` keeps items of these kinds only. The index has the
    levels column, suite and item, the values are True and False. Raises ValueError where nothing is left.
    """
    wanted = [measures] if isinstance(measures, str) else list(measures)
    found = board.outcomes[board.outcomes["measure"].isin(wanted)]
    if kinds is not None:
        found = found.merge(board.answers[["column", "suite", "item", "kind"]])
        found = found[found["kind"].isin(list(kinds))]
    if found.empty:
        raise ValueError(f"No answer on this board is judged by {', '.join(wanted)}.")
    return found.groupby(["column", "suite", "item"], sort=False)["passed"].all().rename("passed")


def rates(outcomes: pd.Series, measure: str) -> pd.DataFrame:
    """The share of passed items of every column: column, measure, passed, n, rate, low, high (95 % Wilson interval).

    `outcomes` is what `passed` returns.
    """
    counted = outcomes.groupby(level="column", sort=False).agg(passed="sum", n="size").reset_index()
    bounds = [wilson(int(good), int(n)) for good, n in zip(counted["passed"], counted["n"])]
    counted.insert(1, "measure", measure)
    counted["rate"] = counted["passed"] / counted["n"]
    counted["low"], counted["high"] = zip(*bounds)
    return counted


def versus(outcomes: pd.Series, a: str, b: str, measure: str = "passed") -> Comparison:
    """Two columns of `outcomes` (see `passed`) on the prompts that both were given, as a Comparison."""
    shared = outcomes.unstack("column")[[a, b]].dropna()
    return compare_outcomes(a, b, measure, [(bool(x), bool(y)) for x, y in shared.to_numpy()])


def side_by_side(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Comparisons as a table, one row for each: both rates, the prompts that only one of the two passed, and p.

    p is that of McNemar's exact test; "more than noise" means p below 0.05.
    """
    rows = [
        {
            "measure": c.measure,
            "first": f"{c.a} {c.rate_a:.0%}",
            "second": f"{c.b} {c.rate_b:.0%}",
            "only first": c.only_a,
            "only second": c.only_b,
            "n": c.n,
            "p": "< 0.001" if c.p_value < 0.001 else f"{c.p_value:.3f}",
            "verdict": "more than noise" if c.more_than_noise else "may be noise",
        }
        for c in comparisons
    ]
    return pd.DataFrame(rows)


def paired_table(outcomes: Mapping[str, Sequence[bool]], against: str) -> pd.DataFrame:
    """Every column of `outcomes` beside the one called `against`, on the same prompts: a row for each column.

    `outcomes` holds True or False for each prompt, in the same order for all. Columns: rate (0 to 1), n, change (in
    points, with its 95 % interval), lost and won (prompts that only `against`, or only this column, passed), p
    (McNemar, exact) and verdict: "clearly less", "clearly more", or "not told apart". Raises KeyError where there is no
    column `against`, ValueError where columns differ in length.
    """
    rows = {}
    for name, own in outcomes.items():
        found = compare_outcomes(name, against, "", list(zip(own, outcomes[against], strict=True)))
        row = {"rate": found.rate_a, "n": found.n, "change": "", "lost": found.only_b, "won": found.only_a}
        row |= {"p": 1.0, "verdict": ""}
        if name != against:
            points = map(_points, (found.difference, found.low, found.high))
            word = "clearly less" if found.difference < 0 else "clearly more"
            row |= {"change": "{} ({} to {})".format(*points), "p": round(found.p_value, 4)}
            row["verdict"] = word if found.more_than_noise else "not told apart"
        rows[name] = row
    return pd.DataFrame(rows).T.astype({"rate": float, "n": int, "lost": int, "won": int, "p": float})


def _points(share: float) -> str:
    """A change in points, with its sign; with a decimal where it would read as no change at all."""
    points = 100 * share
    return f"{points:+.1f}" if 0.05 <= abs(points) < 0.5 else f"{round(points) + 0:+d}"


def interval(good: int, n: int) -> str:
    """A rate with its 95 % Wilson interval as text: "85% (71% to 93%)"."""
    low, high = wilson(good, n)
    return f"{good / n:.0%} ({low:.0%} to {high:.0%})"
