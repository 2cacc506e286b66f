"""The checks of the exercises: what is right passes, typical mistakes are called by their names, and nothing that does
not compute its result from fresh inputs passes."""

import math
import runpy
import sys
import textwrap
import warnings
from pathlib import Path
from random import Random

import pytest
import torch

from course_grading import checks, progress, report
from course_grading.checks import CORRECT, NOT_ATTEMPTED, WRONG, examine, exercises, find, values
from course_grading.checks.ex02 import right
from course_grading.checks.task import Case, Mistake, Prediction, Task
from course_utils import qa_prompt, wilson
from tools import exercises as generator
from tools import notebooks

TASKS = [task for group in exercises().values() for task in group]
FUNCTIONS = [task for task in TASKS if isinstance(task, Task)]
EVERY_TASK = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
EVERY_FUNCTION = pytest.mark.parametrize("task", FUNCTIONS, ids=lambda task: task.name)

# What is examined by training a model for each answer, and what is measured by training one for each seed.
TRAINED = {"my_extractor", "keep_facts"}
MEASURED = {
    "predict_the_bill", "predict_the_starts", "predict_bugs", "predict_the_run", "predict_the_ladder", "predict_the_prompt",
}  # fmt: skip


def slow_if(slow: bool) -> list:
    return [pytest.mark.slow] if slow else []


# What learners write: {task: {name of the mistake: code}}. Written apart from the checks' own list of mistakes.
WRONG_ANSWERS = {
    "softmax": {
        "temperature multiplies": """
            def softmax(scores, temperature=1.0):
                e = torch.exp(scores * temperature - (scores * temperature).max())
                return e / e.sum()""",
        "temperature ignored": """
            def softmax(scores, temperature=1.0):
                e = torch.exp(scores - scores.max())
                return e / sum(e)""",
        "temperature on probabilities": """
            def softmax(scores, temperature=1.0):
                return scores.softmax(0) / temperature""",
        "not divided by the sum": """
            def softmax(scores, temperature=1.0):
                return torch.exp(scores / temperature)""",
        "no exponential": """
            def softmax(scores, temperature=1.0):
                return scores / scores.sum()""",
        "overflow": """
            def softmax(scores, temperature=1.0):
                e = [math.e ** (s / temperature) for s in scores]
                return torch.stack(e) / sum(e)""",
        "logarithms": """
            def softmax(scores, temperature=1.0):
                return scores / temperature - torch.logsumexp(scores / temperature, 0)""",
    },
    "mean_loss": {
        "shifted right": """
            def mean_loss(logits, input_ids):
                logprobs = logits.log_softmax(-1)[1:]
                return -sum(row[t] for row, t in zip(logprobs, input_ids[:-1])) / len(logprobs)""",
        "not shifted": """
            def mean_loss(logits, input_ids):
                return torch.nn.functional.cross_entropy(logits, input_ids)""",
        "shifted twice": """
            def mean_loss(logits, input_ids):
                targets = input_ids[1:]
                return torch.nn.functional.cross_entropy(logits[:-1][:-1], targets[1:])""",
        "the sum": """
            def mean_loss(logits, input_ids):
                return torch.nn.functional.cross_entropy(logits[:-1], input_ids[1:], reduction="sum")""",
        "no minus": """
            def mean_loss(logits, input_ids):
                p = torch.softmax(logits[:-1], -1)
                return p.gather(1, input_ids[1:, None]).log().mean()""",
        "around the corner": """
            def mean_loss(logits, input_ids):
                targets = torch.cat([input_ids[1:], input_ids[:1]])
                return torch.nn.functional.cross_entropy(logits, targets)""",
    },
    "keep_top_p": {
        "the last one is missing": """
            def keep_top_p(probs, p):
                values, ids = probs.sort(descending=True)
                values[values.cumsum(0) > p] = 0
                out = torch.zeros_like(probs)
                out[ids] = values
                return out / out.sum()""",
        "not divided again": """
            def keep_top_p(probs, p):
                values, ids = probs.sort(descending=True)
                values[values.cumsum(0) - values >= p] = 0
                return torch.zeros_like(probs).scatter(0, ids, values)""",
        "left in order": """
            def keep_top_p(probs, p):
                values = probs.sort(descending=True).values
                values[values.cumsum(0) - values >= p] = 0
                return values / values.sum()""",
        "p as a threshold": """
            def keep_top_p(probs, p):
                kept = torch.where(probs >= p, probs, 0.0)
                return kept / kept.sum()""",
        "nothing is cut": """
            def keep_top_p(probs, p):
                return probs / probs.sum()""",
    },
    "write": {
        "the end is never noticed": """
            def write(model, input_ids, eos_token_id, max_new_tokens):
                for _ in range(max_new_tokens):
                    best = model(input_ids).logits[0, -1].argmax()
                    input_ids = torch.cat([input_ids, best.view(1, 1)], 1)
                return input_ids[0, -max_new_tokens:].tolist()""",
        "the end token is kept": """
            def write(model, input_ids, eos_token_id, max_new_tokens):
                new = []
                while len(new) < max_new_tokens and eos_token_id not in new:
                    new.append(int(model(input_ids).logits[0, -1].argmax()))
                    input_ids = torch.cat([input_ids, torch.tensor([new[-1:]])], 1)
                return new""",
        "the prompt comes back too": """
            def write(model, input_ids, eos_token_id, max_new_tokens):
                for _ in range(max_new_tokens):
                    best = model(input_ids).logits[0, -1].argmax()
                    if best == eos_token_id: break
                    input_ids = torch.cat([input_ids, best.view(1, 1)], 1)
                return input_ids[0].tolist()""",
        "one token is read": """
            def write(model, input_ids, eos_token_id, max_new_tokens):
                new, last = [], input_ids[:, -1:]
                for _ in range(max_new_tokens):
                    last = model(last).logits[:, -1:].argmax(-1)
                    if last == eos_token_id: break
                    new.append(last.item())
                return new""",
        "stopped by the prompt": """
            def write(model, input_ids, eos_token_id, max_new_tokens):
                new = []
                while eos_token_id not in input_ids and len(new) < max_new_tokens:
                    new.append(int(model(input_ids).logits[0, -1].argmax()))
                    input_ids = torch.cat([input_ids, torch.tensor([new[-1:]])], 1)
                return new""",
    },
    "surprise": {
        "the mean": """
            def surprise(model, prompt_ids, answer_ids):
                logits = model(torch.tensor([prompt_ids + answer_ids])).logits[0, len(prompt_ids) - 1 : -1]
                return torch.nn.functional.cross_entropy(logits, torch.tensor(answer_ids)).item()""",
        "one row late": """
            def surprise(model, prompt_ids, answer_ids):
                logits = model(torch.tensor([prompt_ids + answer_ids])).logits[0, len(prompt_ids):]
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer_ids), reduction="sum")
                return loss.item()""",
        "the prompt is counted": """
            def surprise(model, prompt_ids, answer_ids):
                ids = torch.tensor([prompt_ids + answer_ids])
                logits = model(ids).logits[0, :-1]
                return torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()""",
        "no minus": """
            def surprise(model, prompt_ids, answer_ids):
                logprobs = model(torch.tensor([prompt_ids + answer_ids])).logits[0].log_softmax(-1)
                return sum(logprobs[len(prompt_ids) - 1 + i, t].item() for i, t in enumerate(answer_ids))""",
        "bits": """
            def surprise(model, prompt_ids, answer_ids):
                probs = model(torch.tensor([prompt_ids + answer_ids])).logits[0].softmax(-1)
                return sum(-math.log2(probs[len(prompt_ids) - 1 + i, t]) for i, t in enumerate(answer_ids))""",
    },
    "relative_change": {
        "the difference of the lengths": """
            def relative_change(before, after):
                return {n: float(abs(after[n].norm() - before[n].norm()) / before[n].norm()) for n in before}""",
        "measured in the instruct's length": """
            def relative_change(before, after):
                return {n: float((after[n] - before[n]).norm() / after[n].norm()) for n in before}""",
        "not divided": """
            def relative_change(before, after):
                return {n: float(torch.dist(after[n], before[n])) for n in before}""",
        "matched by position": """
            def relative_change(before, after):
                pairs = zip(before, before.values(), after.values())
                return {n: float((a - b).norm() / b.norm()) if a.shape == b.shape else math.nan for n, b, a in pairs}""",
    },
    "kl_divergence": {
        "the other direction": """
            def kl_divergence(instruct_logits, base_logits):
                p, q = instruct_logits.log_softmax(-1), base_logits.log_softmax(-1)
                return (q.exp() * (q - p)).sum()""",
        "scores instead of log-probabilities": """
            def kl_divergence(instruct_logits, base_logits):
                return (instruct_logits.softmax(-1) * (instruct_logits - base_logits)).sum()""",
        "the mean": """
            def kl_divergence(instruct_logits, base_logits):
                p, q = instruct_logits.log_softmax(-1), base_logits.log_softmax(-1)
                return torch.nn.functional.kl_div(q, p, log_target=True)""",
        "the logarithm of 0": """
            def kl_divergence(instruct_logits, base_logits):
                p, q = instruct_logits.softmax(-1), base_logits.softmax(-1)
                return sum(a * (a.log() - b.log()) for a, b in zip(p, q))""",
    },
    "stop_rate": {
        "still the last column, one end": """
            def stop_rate(rows, eos_token_ids):
                return sum(row[-1] == eos_token_ids[0] for row in rows) / len(rows)""",
        "the last column": """
            def stop_rate(rows, eos_token_ids):
                return sum(int(row[-1]) in eos_token_ids for row in rows) / len(rows)""",
        "one end token of two": """
            def stop_rate(rows, eos_token_ids):
                return sum(eos_token_ids[0] in row.tolist() for row in rows) / len(rows)""",
        "ends counted, not rows": """
            def stop_rate(rows, eos_token_ids):
                return sum(row.tolist().count(e) for row in rows for e in eos_token_ids) / len(rows)""",
        "a count": """
            def stop_rate(rows, eos_token_ids):
                return sum(any(e in row.tolist() for e in eos_token_ids) for row in rows)""",
    },
    "shift_shares": {
        "one row late": """
            def shift_shares(base_logits, ids, start):
                ranks = [int((base_logits[i] > base_logits[i][ids[i]]).sum()) + 1 for i in range(start, len(ids))]
                return shares(ranks)""",
        "the prompt is counted": """
            def shift_shares(base_logits, ids, start):
                ranks = [int((base_logits[i - 1] > base_logits[i - 1][ids[i]]).sum()) + 1 for i in range(1, len(ids))]
                return shares(ranks)""",
        "ranks from 0": """
            def shift_shares(base_logits, ids, start):
                rows = base_logits[start - 1 : -1]
                order = rows.argsort(-1, descending=True).tolist()
                return shares([row.index(token) for row, token in zip(order, ids[start:])])""",
        "percent": """
            def shift_shares(base_logits, ids, start):
                rows = base_logits[start - 1 : -1]
                ranks = [int((row >= row[token]).sum()) for row, token in zip(rows, ids[start:])]
                return {name: 100 * share for name, share in shares(ranks).items()}""",
    },
    "answer_rates": {
        "the base is asked bare": """
            def answer_rates(pair, questions):
                base = [pair.base.complete(q, 24).text for q, _ in questions]
                instruct = [pair.instruct.chat(q, max_new_tokens=24).text for q, _ in questions]
                return rates(questions, base, instruct)""",
        "the instruct without its template": """
            def answer_rates(pair, questions):
                base = [pair.base.complete(qa_prompt(q), 24).text for q, _ in questions]
                instruct = [pair.instruct.complete(q, 24).text for q, _ in questions]
                return rates(questions, base, instruct)""",
        "the variants are swapped": """
            def answer_rates(pair, questions):
                base = [pair.base.complete(qa_prompt(q), 24).text for q, _ in questions]
                instruct = [pair.instruct.chat(q, max_new_tokens=24).text for q, _ in questions]
                return rates(questions, instruct, base)""",
        "no interval": """
            def answer_rates(pair, questions):
                base = [pair.base.complete(qa_prompt(q), 24).text for q, _ in questions]
                instruct = [pair.instruct.chat(q, max_new_tokens=24).text for q, _ in questions]
                return {name: rate[0] for name, rate in rates(questions, base, instruct).items()}""",
        "another judge": """
            def answer_rates(pair, questions):
                base = [pair.base.complete(qa_prompt(q), 24).text for q, _ in questions]
                instruct = [pair.instruct.chat(q, max_new_tokens=24).text for q, _ in questions]
                return rates(questions, base, instruct, judge=lambda text, answer: answer in text)""",
    },
    "predict_temperature": {
        "hotter is surer": """
            def predict_temperature():
                return {"entropy at temperature 2, against 1": "lower",
                        "most probable token at temperature 2, against 1": "the same",
                        "an invented name costs, the second time it is mentioned": "fewer"}""",
        "temperature reorders": """
            def predict_temperature():
                return {"entropy at temperature 2, against 1": "higher",
                        "most probable token at temperature 2, against 1": "another",
                        "an invented name costs, the second time it is mentioned": "fewer"}""",
        "names are looked up": """
            def predict_temperature():
                return {"entropy at temperature 2, against 1": "higher",
                        "most probable token at temperature 2, against 1": "the same",
                        "an invented name costs, the second time it is mentioned": "as many"}""",
        "not one of the choices": """
            def predict_temperature():
                return {"entropy at temperature 2, against 1": "up",
                        "most probable token at temperature 2, against 1": "the same",
                        "an invented name costs, the second time it is mentioned": "fewer"}""",
    },
    "predict_the_end": {
        "post-training adds parts": """
            def predict_the_end():
                return expected(parameters="more")""",
        "the end token steers the answer": """
            def predict_the_end():
                return expected(tokens="different from the start")""",
        "fewer ends, shorter text": """
            def predict_the_end():
                return expected(length="shorter")""",
        "one success is certain": """
            def predict_the_end():
                return expected(interval="narrower")""",
    },
}
# Those of the later exercises, and what stands around them in their notebooks: tests/wrong_answers_NN.py.
SURROUNDINGS: dict = {}
for path in sorted(Path(__file__).parent.glob("wrong_answers_[0-9][0-9].py")):
    module = runpy.run_path(str(path))
    WRONG_ANSWERS |= module["WRONG_ANSWERS"]
    SURROUNDINGS |= module.get("SURROUNDINGS", {})
CASES = [
    pytest.param(task, mistake, source, id=f"{task}: {mistake}", marks=slow_if(task in TRAINED))
    for task, sources in WRONG_ANSWERS.items()
    for mistake, source in sources.items()
]


def defined(source: str, name: str):
    """The function `name` that a learner's source defines, in a notebook's surroundings."""

    def shares(ranks):
        n = len(ranks)
        unshifted, marginal = sum(r <= 1 for r in ranks) / n, sum(1 < r <= 3 for r in ranks) / n
        return {"unshifted": unshifted, "marginal": marginal, "shifted": sum(r > 3 for r in ranks) / n}

    def rates(questions, base, instruct, judge=right):
        found = {}
        for variant, texts in (("base", base), ("instruct", instruct)):
            hits = sum(judge(text, answer) for text, (_, answer) in zip(texts, questions))
            found[variant] = (hits / len(questions), *wilson(hits, len(questions)))
        return found

    def expected(**changed):
        claims = {
            "parameters": "as many",
            "tokens": "the same at first",
            "length": "longer",
            "interval": "wider",
        }
        return {
            claim.key: (claims | changed)[claim.key.split()[0]] for claim in find("predict_the_end").claims
        }

    space = {"torch": torch, "math": math, "qa_prompt": qa_prompt, "shares": shares, "rates": rates}
    space |= {"expected": expected, "wilson": wilson, "right": right} | SURROUNDINGS
    exec(textwrap.dedent(source), space)
    return space[name]


@pytest.fixture(scope="module")
def solutions():
    """{task: the answer in solutions/}, from the very cells that learners can open."""
    space: dict = {}
    for path in generator.sources():
        for cell in notebooks.read(path).cells:
            own = cell.metadata.get("nbgrader", {})
            needed = own.get("grade_id", "").startswith("setup") or own.get("grade_id", "").endswith("_given")
            if cell.cell_type == "code" and (own.get("solution") or needed):
                exec(cell.source, space)
    return {task.name: space[task.name] for task in TASKS}


@pytest.fixture(scope="module", autouse=True)
def measured_once():
    """What a prediction is compared with depends on the seed and not on the answer: here it is measured once a seed."""
    claims = [claim for task in TASKS if isinstance(task, Prediction) for claim in task.claims]
    measures = [claim.measure for claim in claims]
    for claim in claims:
        object.__setattr__(claim, "measure", once_a_seed(claim.measure))
    yield
    for claim, measure in zip(claims, measures):
        object.__setattr__(claim, "measure", measure)


def once_a_seed(measure):
    known = {}

    def remembered(rng: Random):
        state = rng.getstate()
        if state not in known:
            known[state] = measure(rng)
        return known[state]

    return remembered


# -- every task -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, id=task.name, marks=slow_if(task.name in TRAINED | MEASURED)) for task in TASKS],
)
def test_the_solution_that_learners_can_open_is_correct_on_inputs_of_several_seeds(task, solutions):
    for seed in range(2 if task.name in TRAINED | MEASURED else 3):
        outcome = examine(task.name, solutions[task.name], seed)
        assert (outcome.status, outcome.points) == (CORRECT, task.points), outcome.message


@pytest.mark.parametrize("name, mistake, source", CASES)
def test_a_typical_mistake_is_called_by_its_name(name, mistake, source):
    outcome = examine(name, defined(source, name), 11)
    assert (outcome.status, outcome.mistake) == (WRONG, mistake), outcome.message
    assert outcome.points < outcome.of and len(outcome.message) > 40


@EVERY_TASK
def test_three_typical_mistakes_of_every_task_are_tested_and_known_by_name(task):
    assert len(WRONG_ANSWERS[task.name]) >= 3
    if isinstance(task, Task):
        names = [mistake.name for mistake in task.mistakes]
        assert len(set(names)) == len(names) and set(WRONG_ANSWERS[task.name]) <= set(names)


@EVERY_FUNCTION
def test_every_mistake_that_a_check_knows_is_wrong_and_recognised(task):
    for mistake in task.mistakes:
        outcome = task.examine(mistake.answer, 5)
        assert (outcome.status, outcome.mistake) == (WRONG, mistake.name), outcome.message


@EVERY_FUNCTION
def test_a_constant_does_not_pass(task):
    case = task.cases[0]
    constant = task.answer(*case.draw(Random(3)))
    outcome = task.examine(lambda *arguments, **named: constant, 4)
    assert outcome.status == WRONG and outcome.points < task.points


@EVERY_FUNCTION
def test_the_results_of_another_seed_do_not_pass(task):
    recorded = []

    def recorder(*arguments, **named):
        recorded.append(task.answer(*arguments, **named))
        return recorded[-1]

    assert task.examine(recorder, "one seed").status == CORRECT
    replayed = iter(recorded)
    outcome = task.examine(lambda *arguments, **named: next(replayed), "another seed")
    assert outcome.status == WRONG


@EVERY_TASK
def test_what_nobody_has_touched_is_not_attempted(task):
    def stub(*arguments, **named):
        raise NotImplementedError()

    for answer in (stub, None, ...):
        outcome = examine(task.name, answer, 1)
        assert (outcome.status, outcome.points) == (NOT_ATTEMPTED, 0)
        assert "Not attempted yet" in str(outcome) and task.name in str(outcome)


def test_names_are_unique_points_are_100_and_predictions_are_one_an_exercise():
    assert len({task.name for task in TASKS}) == len(TASKS)
    for number, tasks in exercises().items():
        assert sum(task.points for task in tasks) == 100
        assert 4 <= len(tasks) <= 7
        assert sum(isinstance(task, Prediction) for task in tasks) == 1, number
        assert sum("Find and fix the bug" in task.title for task in tasks) == 1, number
        assert all(task.minutes > 0 and len(task.hints) == 3 for task in tasks)


def test_parameters_that_later_cells_name_keep_their_names():
    def render_chatml(messages, generation_prompt=False, continue_final_message=False):
        return find("render_chatml").answer(messages, generation_prompt, continue_final_message)

    outcome = examine("render_chatml", render_chatml, 1)
    assert (outcome.status, outcome.mistake) == (WRONG, "other parameters")
    assert "add_generation_prompt" in outcome.message
    assert examine("render_chatml", lambda messages, **options: "", 1).mistake != "other parameters"


# -- one task, made for the tests -----------------------------------------------------------------------------

HALF = Task(
    name="half",
    title="Halve",
    minutes=1,
    answer=lambda x: x / 2,
    cases=[
        Case("whole numbers", 3, lambda rng: (rng.randint(1, 99) * 2,)),
        Case("negative ones", 2, lambda rng: (-rng.randint(1, 99),)),
    ],
    mistakes=[Mistake("doubled", "it is doubled.", lambda x: 2 * x)],
    hints=["Divide.", "By two."],
)


def test_each_case_gives_its_own_points():
    outcome = HALF.examine(lambda x: abs(x) / 2, 1)
    assert (outcome.status, outcome.points, outcome.of) == (WRONG, 3, 5)
    assert "negative ones" in outcome.message and "right is" in outcome.message


def test_a_call_instead_of_the_function_and_a_missing_return_are_told():
    assert HALF.examine(4.0, 1).mistake == "not a function"
    assert HALF.examine(lambda x: None, 1).mistake == "no return"


def test_an_exception_is_told_with_its_kind_and_even_an_exit_is_only_a_wrong_answer():
    def divides(x):
        return x / 0

    outcome = HALF.examine(divides, 1)
    assert outcome.mistake == "an error" and "ZeroDivisionError" in outcome.message

    def leaves(x):
        raise SystemExit(3)

    assert "SystemExit" in HALF.examine(leaves, 1).message


def test_an_interrupt_is_passed_on():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HALF.examine(interrupted, 1)


def test_warnings_and_stderr_of_an_answer_do_not_reach_the_check_cell(capsys, recwarn):
    def noisy(x):
        warnings.warn("careful", stacklevel=1)
        print("50 %", file=sys.stderr)
        return x / 2

    assert HALF.examine(noisy, 1).status == CORRECT
    assert capsys.readouterr().err == "" and not recwarn.list


def test_an_answer_may_change_what_it_gets_without_harm():
    task = Task(
        "first", "First", 1, lambda xs: xs[0], [Case("lists", 1, lambda rng: ([rng.random(), 2.0],))], [], []
    )

    def empties(xs):
        return xs.pop(0)

    assert task.examine(empties, 1).status == CORRECT


def test_seeds_make_inputs_reproducible_and_different():
    def seen(seed):
        found = []
        HALF.examine(lambda x: found.append(x) or x / 2, seed)
        return found

    assert seen(1) == seen(1) != seen(2)


# -- check and hint -------------------------------------------------------------------------------------------


@pytest.fixture
def own_progress(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("COURSE_GRADING", raising=False)
    return tmp_path / "progress.json"


def test_check_says_what_came_out_and_the_best_points_are_kept(own_progress, capsys):
    checks.check("softmax", lambda scores, temperature=1.0: torch.softmax(scores, -1))
    assert "✘ Not yet" in capsys.readouterr().out
    partial = progress.read()["tasks"]["softmax"]["points"]
    checks.check("softmax", lambda scores, temperature=1.0: torch.softmax(scores / temperature, -1))
    assert "✔ Correct" in capsys.readouterr().out
    checks.check("softmax", lambda scores, temperature=1.0: scores)
    kept = progress.read()["tasks"]["softmax"]
    assert 0 < partial < kept["points"] == kept["of"]
    table = report.points("01").set_index("task")
    assert table.loc["softmax", "state"] == "done" and table.loc["write", "state"] == "not tried"
    assert table.loc["all", "points"] == kept["points"] and table.loc["all", "of"] == 100


@pytest.mark.parametrize("text", ["", "[]", '{"tasks": 3}', '{"tasks": {"softmax": "x"}}', "\x00"])
def test_a_spoilt_progress_file_counts_as_none(own_progress, text):
    own_progress.write_text(text)
    assert progress.read()["tasks"] == {}


def test_a_progress_file_that_cannot_be_written_stops_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "no" / "such" / "folder.json"))
    progress.record(HALF.examine(lambda x: x / 2, 1))
    assert progress.read()["tasks"] == {}


def test_progress_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert progress.progress_file() is None and progress.read()["tasks"] == {}


def test_hints_go_one_step_further_each_time(capsys, monkeypatch):
    monkeypatch.delenv("COURSE_GRADING", raising=False)
    checks._hints_shown.clear()
    shown = []
    for _ in range(4):
        checks.hint("write")
        shown.append(capsys.readouterr().out)
    hints = find("write").hints
    assert all(hint in text for hint, text in zip(hints, shown)) and shown[3] == shown[2]
    assert "folded" in shown[2]


def test_an_unknown_task_is_told_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"check\('softmax', softmax\)"):
        checks.check("sofmax", None)


def test_a_hidden_test_gets_points_or_an_error_never_0():
    right = find("kl_divergence").answer
    assert checks.earned("kl_divergence", right) == find("kl_divergence").points
    with pytest.raises(AssertionError, match="Not yet"):
        checks.earned("kl_divergence", lambda p, q: 0.0)


def test_an_instructor_can_add_an_exercise_from_a_folder_of_their_own(monkeypatch, tmp_path):
    source = (
        "from .task import Case, Task\n"
        "TASKS = (Task('one', 'One', 1, lambda: 1, [Case('it', 4, lambda rng: ())], [], ['Say 1.']),)\n"
    )
    (tmp_path / "ex90.py").write_text(source)
    monkeypatch.setenv("COURSE_CHECKS", str(tmp_path))
    assert "90" in exercises() and examine("one", lambda: 1).status == CORRECT


# -- results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found, expected, alike",
    [
        (1.00001, 1.0, True),
        (1.01, 1.0, False),
        (torch.tensor(2.0), 2.0, True),
        ([1, 2], torch.tensor([1.0, 2.0]), True),
        ([1, 2, 3], torch.tensor([1.0, 2.0]), False),
        (True, 1.0, False),
        (True, True, True),
        (1, True, False),
        (None, None, True),
        ([{"role": "user"}], [{"role": "user"}], True),
        ([{"role": "user"}], [{"role": "human"}], False),
        (["a"], ["a", "b"], False),
        ("ab", ["a", "b"], False),
        ("1", 1.0, False),
        (None, 1.0, False),
        ({"a": 1.0}, {"a": 1}, True),
        ({"b": 1.0}, {"a": 1}, False),
        (math.nan, 1.0, False),
        ([torch.tensor(1), torch.tensor(2)], [1, 2], True),
        ((1, 2), [1, 2], True),
        ([[1], [2, 3]], [1, 2], False),
    ],
)
def test_results_are_the_same_in_any_reasonable_form_and_in_no_other(found, expected, alike):
    assert values.same(found, expected) is alike
    if not alike and found != 1.01:
        assert values.difference(found, expected) or values.contrast(found, expected)


def test_two_texts_are_told_apart_by_where_they_first_differ():
    said = values.contrast(
        [{"content": "a longer text, and then this."}], [{"content": "a longer text, and then that."}]
    )
    assert "[0]" in said and "'content'" in said and "this" in said and "that" in said
