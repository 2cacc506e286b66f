"""What lesson 07 reads of its runs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from course_utils.evaluate.stats import wilson

WATCHED = {
    "right": "right answers",
    "hedged": "hedged answers",
    "refuses_wrong": "refuses what is wrong",
    "refuses_fine": "refuses what is fine",
}


def watched_rates(histories: Mapping[str, pd.DataFrame], n: int = 48) -> pd.DataFrame:
    """What `watch` measured along some runs, as `plot_behaviours` takes it: run, step, measure, rate, low, high, n."""
    rows = []
    for run, history in histories.items():
        for key, measure in WATCHED.items():
            asked = n // 2 if key.startswith("refuses") else n
            for step, rate in history[["step", key]].dropna().itertuples(index=False):
                low, high = wilson(round(rate * asked), asked)
                rows.append([run, int(step), measure, rate, low, high, asked])
    return pd.DataFrame(rows, columns=["run", "step", "measure", "rate", "low", "high", "n"])
