"""The lessons: each runs from top to bottom in a fresh kernel without a network, what it claims holds for the
models shipped, and what is committed is executed, clean and in the course's style."""

import ast
import math
import re
import statistics
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
COLUMNS = 120  # a markdown line longer than this counts as several

# What a lesson's text tells the learner to see, as expressions over its variables after the last cell.
# Orderings, signs and wide margins only: the models may be trained again.
CLAIMS = {
    "00": {
        "both variants continue a plain sentence with the same word": (
            "all(v.next_token_probs('The capital of France is', k=1)['token'].item() == ' Paris' for v in pair)"
        ),
        "in a chat the two differ": (
            "pair.base.next_token_probs(pair.instruct.encode(chat), k=1)['token'].item()"
            " != pair.instruct.next_token_probs(chat, k=1)['token'].item()"
        ),
        "only the instruct in a chat gives the answer and ends it": (
            "written['instruct, answering in a chat'].stop_reason == 'eos'"
            " and 'Paris' in written['instruct, answering in a chat'].text"
            " and not written['base, continuing the text'].stopped"
        ),
        "nobody's progress but the reader's is shown": "(lessons().state == 'open').all()",
    },
    "01": {
        "the probabilities worked out in the open are those of the figure": "float(difference) < 1e-4",
        "the loss by hand is the library's": "abs(float(by_hand) - float(library)) < 1e-4",
        "labels that are moved twice give a far higher loss": "float(wrong_loss) > float(own_loss) + 1",
        "the same words in another order surprise the base more": (
            "pair.base.token_logprobs(sentence).logprob.mean() > pair.base.token_logprobs(' '.join(words)).logprob.mean()"
        ),
        "an invented name is cheaper the second time": "saved > 0.3",
        "temperature, top-k and top-p in the open are the helper's": (
            "float((ours - torch.tensor(helper['prob'].tolist())).abs().max()) < 1e-4"
        ),
        "greedy always writes the same text, heat many": (
            "rows[0]['different texts of 40'] == 1 and rows[-1]['different texts of 40'] > 20"
        ),
        "after an answer the instruct expects the end of turn, the base does not": (
            "float(ends['instruct'][-1, 1]) > 0.3 and float(ends['base'][-1, 1]) < 0.01"
        ),
    },
    "02": {
        "the two have the same tensors": "shapes(pair.base) == shapes(pair.instruct)",
        "the settings that differ are about ends and templates": (
            "{'generation_config.eos_token_id', 'tokenizer.eos_token', 'tokenizer.chat_template'} <= set(differing.index)"
            " and len(differing) < len(both) / 4"
        ),
        "most of the tensors moved, none by as much as its own length": (
            "(change.relative_change > 0).mean() > 0.5 and change.relative_change.max() < 1"
        ),
        "the loop in the open gives what weight_change gives": (
            "abs(moved['relative change'].max() - change.relative_change.max()) < 1e-6"
        ),
        "the instruct adds two and two": "'4' in rows_of_scenarios[0]['instruct, greedy'].text",
        "the instruct refuses what is wrong": "judges.refuses(rows_of_scenarios[2]['instruct, greedy'].text)",
        "a summary copies the invented names": (
            "all(name in rows_of_scenarios[3]['instruct, greedy'].text for name in ('Tavo Relmin', 'Orvelton'))"
        ),
        "both continue the sentence with Paris": "'Paris' in rows_of_scenarios[5]['base, greedy'].text",
        "there are at least 100 questions, all different": "len({q for q, _ in questions}) == len(questions) >= 100",
        "every question is about an entity that was kept out of SFT": (
            "all(any(f.split == 'test' and f.value == answer"
            " and any(judges.says(q, name) for name in (f.entity, f.name, f.plural)) for f in knowledge.facts())"
            " for q, answer in questions)"
        ),
        "in the template the instruct answers, and the base answers less": (
            "at('answers, in the template', 'instruct').low > at('answers, in the template', 'base').high"
        ),
        "in the template the instruct stops by itself, and the base does not": (
            "at('stops, in the template', 'instruct').low > 0.8 and at('stops, in the template', 'base').high < 0.5"
        ),
        "a bare question makes the base ask on": (
            "at('asks on, bare text', 'base').low > 0.5 > at('answers, bare text', 'base').high"
        ),
        "the instruct answers bare text less often than a message": (
            "at('answers, bare text', 'instruct').high < at('answers, in the template', 'instruct').low"
        ),
        "without its end of turn in the loop's list the answer runs on": (
            "(lambda a, b: len(b) > len(a) and b[: len(a)].tolist() == a.tolist())(*runs)"
        ),
        "the instruct knows where its answer ends, the base far less": (
            "ends.loc['instruct', 'at its end'] > 0.5 and ends.loc['instruct', 'before its end'] < 0.1"
            " and ends.loc['base', 'at its end'] < ends.loc['instruct', 'at its end'] / 2"
        ),
        "most tokens of an answer are unshifted": (
            "(shifts['the chat template'].category == 'unshifted').mean() > 0.5"
        ),
        "the shift falls along the answer": (
            "(lambda t: (t[t.position < 3].category != 'unshifted').mean()"
            " > (t[t.position >= 10].category != 'unshifted').mean())(shifts['the chat template'])"
        ),
        "the ranks in the open are those of token_shift": (
            "ranks == token_shift(pair, 'What is the capital of Japan?').rank_base.tolist()"
        ),
    },
    "03": {
        "ChatML by hand and the template give the same tokens": "by_hand == encoding['input_ids']",
        "only the mark itself is one token": (
            "[text for text, ids in lookalikes.items() if len(ids) == 1] == ['<|im_end|>']"
        ),
        "a mistyped keyword changes nothing": (
            "rendered(add_generation_promt=True) == rendered() != rendered(add_generation_prompt=True)"
        ),
        "a second assistant turn is opened silently": (
            "tokenizer.apply_chat_template(begun, tokenize=False, add_generation_prompt=True).count('assistant') == 2"
        ),
        "what is not in the list of messages was never said": (
            "'Lena' in chat[-1]['content'] and 'Lena' not in forgot"
        ),
        "at least ten families, which end their answers in many ways": (
            "len(table) >= 10 and table.end_of_turn.nunique() >= 5"
        ),
        "tags with </s> are Zephyr's, and Llama 3 does not write ChatML": (
            "who_writes('<|user|>', '</s>') == ['zephyr'] and 'llama-3' not in who_writes('<|im_start|>')"
        ),
        "there are at least 60 questions, all different": "len({q for q, _ in questions}) == len(questions) >= 60",
        "in the template the instruct answers and stops, and a base given it does not": (
            "all(by_name.loc[(what, 'own template', 'instruct')].low > by_name.loc[(what, 'own template', 'base')].high"
            " for what in ('answers', 'stops'))"
        ),
        "the instruct answers bare text less often than its template": (
            "by_name.loc[('answers', 'bare text', 'instruct')].high < by_name.loc[('answers', 'own template', 'instruct')].low"
        ),
        "some wrong template costs the instruct its answers": "worst.high < best.low",
        "the instruct expects the end where it is, and the base far less": (
            "at_end['instruct'] > 0.5 and at_end['base'] < at_end['instruct'] / 2"
            " and ends[(ends.reader == 'instruct') & (ends.left > 0)].p.mean() < 0.1"
        ),
        "no control token comes out of a user's text": (
            "not set(harmless['input_ids']) & set(tokenizer.added_tokens_decoder)"
            " and sum(i in tokenizer.added_tokens_decoder for i in safe_ids) == sum(i in tokenizer.added_tokens_decoder"
            " for i in tokenizer.apply_chat_template(question, add_generation_prompt=True)['input_ids'])"
        ),
        "sanitising closes the forged turn": "before.low > after.high",
        "a tag that is plain text survives": "[survives(n) for n in ('phi-3', 'zephyr', 'olmo-2')] == [False, True, True]",
        "encoding a rendered text doubles its BOS, and both fixes work": "bos_counts == [1, 2, 1]",
        "Llama 3's BOS is doubled, Zephyr's is left out in one call": (
            "tuple(counts.loc['llama-3']) == (1, 2) and tuple(counts.loc['zephyr']) == (0, 1)"
        ),
    },
    "04": {
        "the mask by hand is the library's": (
            "(lambda e: [e['input_ids'], e['assistant_masks']] == list(encode_by_hand(talk)))(tokenizer.apply_chat_template("
            "talk, return_dict=True, return_assistant_tokens_mask=True))"
        ),
        "ShareGPT becomes messages and comes back the same": (
            "formats.convert(turns, 'sharegpt') == formats.sample('sharegpt') and len(dropped) > 0"
        ),
        "some conversions lose something, some are impossible": (
            "{'yes', 'loses', 'no'} <= set(matrix.to_numpy().ravel())"
        ),
        "the broken file has many kinds of problem, a special token in a text among them": (
            "report.problems['problem'].nunique() >= 5 and 'special token in text' in set(report.problems['problem'])"
        ),
        "the last token of the header is where the answer's first is learned": (
            "(lambda ids, mask: mask[:2] == [0, 0] and [i for i, m in enumerate(mask) if m][-1] == len(ids) - 2"
            " and ids[-2] == tokenizer.eos_token_id)(*encode_by_hand(talk))"
        ),
        "cutting at the median length takes ends first, then answers": (
            "lost['end_lost'].sum() > lost['nothing_left'].sum() > 0"
        ),
        "packed conversations are apart only where boundaries are stated": (
            "float((stated - alone).abs().max()) < 1e-3 and float((unstated - alone).abs().max()) > 0.1"
        ),
        "a good batch teaches to stop": "runs['nothing wrong']['stops'] > 0.7 * len(questions)",
        "without the end of turn in the loss the model does not stop": (
            "runs['pad is eos']['stops'] < 0.1 * len(questions)"
        ),
        "an empty mask gives no loss and no gradient": "size == 0 and loss.item() != loss.item()",
        "searching for a word puts much into the loss that is no answer": "counted[headers] > 1.1 * counted[good]",
        "labels shifted twice cost the answers": (
            "runs['labels shifted twice']['loss on good batches'] > runs['nothing wrong']['loss on good batches'] + 0.5"
            " and runs['labels shifted twice']['answers'] < runs['nothing wrong']['answers']"
        ),
        "the printed loss falls in every run": "falling == len(runs) == 5",
        "the audit names each bug and nothing else": (
            "{name: set(audit_batch(make(talks[:16]), used)['bug']) for name, (make, used) in batches.items()} == {"
            "'nothing wrong': set(), 'pad is eos': {'pad is eos'}, 'double_bos': {'double BOS'},"
            " 'empty_mask': {'empty mask'}, 'headers': {'headers in the loss'}, 'shifted': {'labels shifted'}}"
        ),
    },
    "05": {
        "train.sft begins with the loss of the loop in the open": "abs(first_loss - losses[0]) < 1e-3",
        "five examples are learned by heart": (
            "losses[-1] < 0.2 * losses[0] and by_heart.chat(five[0][0]['content']).text == five[0][1]['content']"
        ),
        "the live run answers, stops and no longer asks on": (
            "at(full, 'stops').low > at(counted[0], 'stops').high and at(full, 'stops').low > 0.9"
            " and at(full, 'answers').low > at(counted[0], 'answers').high"
            " and at(full, 'asks on').high < at(counted[0], 'asks on').low"
        ),
        "the shipped results are those of the shipped base": (
            "set(lesson05.shipped().base) == {lesson05.fingerprint()}"
        ),
        "one's own point lies on the shipped line": (
            "all(r.low <= at(point3000, r.measure).high and r.high >= at(point3000, r.measure).low"
            " for r in full.itertuples())"
        ),
        "ten examples are enough to stop, and not to answer": (
            "at(point10, 'stops').low > 0.9 and at(point10, 'answers').high < at(point3000, 'answers').low"
        ),
        "pebble-sft tells wrong from harmless, and no shorter run does": (
            "at(much, 'over-refuses').high < at(much, 'refuses').low"
            " and all(at(part, 'over-refuses').high > at(part, 'refuses').low for part in list(parts.values())[:-1])"
        ),
        "high rates and no replay cost what is never asked": (
            "at(own, 'never asked').high < at(full, 'never asked').low"
            " and completed['no replay'][0] < completed['base'][0]"
        ),
        "replay keeps the base's way with bare text at a moderate rate": (
            "last.loc[('bare text: asks on', f'lr {lesson05.MODERATE:g}, no replay')].high"
            " < last.loc[('bare text: asks on', f'lr {lesson05.MODERATE:g}, with replay')].low"
        ),
        "what carries no loss is not written: no turn is ended": (
            "lasts.count(tokenizer.eos_token_id) < 0.1 * len(lasts)"
        ),
    },
    "06": {
        "the third rung is query_base_as_instruct": (
            "query_base_as_instruct(base, question).prompt == with_system(question)"
        ),
        "no example in a prompt asks about an entity of the test split": (
            "not any(judges.says(q, f.entity) for q, _ in examples for f in knowledge.facts()"
            " if f.split == 'test' and len(f.entity) > 3 and f.table != 'opposites')"
        ),
        "the frame makes the step from no answer to answers": (
            "at('answers', 'base alone').high < 0.5 < at('answers', 'base + frame').low"
        ),
        "a published frame that the base has not read does worse than our labels": (
            "at('answers', 'base + URIAL').high < at('answers', 'base + URIAL, our labels').low"
        ),
        "the template does not make a base answer as the tuned model does": (
            "at('answers', 'base + template').high < at('answers', sft.name).low"
        ),
        "no prompt refuses as the tuned model does": (
            "best_prompt('refuses').high < at('refuses', sft.name).low"
        ),
        "JSON on request is fine-tuning's": (
            "forms.loc['JSON keys', sft.name] > 0.5 > 0.2 > forms.loc['JSON keys', list(ladder)].max()"
        ),
        "one word is kept without being asked for": "forms.loc['one word', 'base + system prompt, stop'] > 0.7",
        "without stop strings a prompted base does not end in time, with them it does": (
            "at('ends in time', 'base + system prompt').high < 0.3 and at('ends in time', 'base + system prompt, stop').low > 0.8"
        ),
        "an end comes with a full page, not with an answer": "ends[6] > 5 * ends[1] and ends[1] < 0.2",
        "the rule says no to harmless acts as well": "pages_no[('a rule', 'comply')] > 0.5",
        "stop strings are more than noise": "versus(*steps[0]).more_than_noise and versus(*steps[0]).difference > 0",
        "the best prompt is one that ends": "rungs[best][1] is not None",
        "the first example says what the task is": "grid[0][1] > grid[0][0] + 0.2",
        "wrong values cost less than other relations": "sum(success(wrong=1)) > sum(success(draw=from_anywhere))",
        "four examples of its own kind give no JSON and no refusal": (
            "all(one_of.loc[m, 'base + 4 of its kind'] < 0.2 < one_of.loc[m, sft.name] for m in ('JSON keys', 'refuses'))"
        ),
        "other labels on the prompt break the base, and new wordings cost the tuned model too": (
            "min(word('facts', c) for c in labelled_columns) < 0.4 < 0.7 < word('facts', 'base + Question/Answer')"
            " and word('phrasings', sft.name) < word('facts', sft.name)"
        ),
        "told a role, the tuned model is in character in its first turn, the shown base is not": (
            "kept(sft.name).iloc[0] > kept('base + 2 examples').iloc[0]"
        ),
        "the ranks in the open are those of token_shift": (
            "ranks == token_shift(pair, question, base_prompt=document).rank_base.tolist()"
        ),
    },
    "07": {
        "fine-tuning brings answers, ends and refusals": (
            "all(step.more_than_noise and step.difference > 0 for step in"
            " (board.compare('sft', 'base', what) for what in ('answers', 'stops by itself', 'refuses')))"
        ),
        "dpo and rl hedge less than sft": (
            "all(sum(doubt[name]) < sum(doubt['sft']) for name in ('dpo', 'rl'))"
        ),
        "DPO's loss by hand begins at ln 2, and the library's too": (
            "abs(float(first_loss) - math.log(2)) < 1e-4 and abs(library_first - math.log(2)) < 1e-4"
        ),
        "DPO's loss by hand is the library's for two different models": (
            "abs(library_later - float(later_loss)) < 1e-3 and library_later < library_first"
        ),
        "the pushed run has the larger margin and, on its way, fewer right answers": (
            "(lambda gentle, pushed: pushed.margin.tail(5).mean() > gentle.margin.tail(5).mean()"
            " and pushed.right.min() < gentle.right.min() - 0.05)"
            "(*(dpo_runs[name].history for name in ('gentle', 'pushed')))"
        ),
        "in the pushed run the chosen answers lose probability": (
            "dpo_runs['pushed'].history.reward_chosen.tail(5).mean() < dpo_runs['gentle'].history.reward_chosen.tail(5).mean()"
        ),
        "DPO pushes the hedged answer down": "float(changes['DPO, gentle'].mean(0)[1]) < -1",
        "the reward by hand is the library's": (
            "abs(float(scores[0]) - judge(held_out[0]['prompt'], held_out[0]['chosen'][0]['content'])) < 1e-3"
        ),
        "the judge tells hedged from plain better than right from wrong": (
            "accuracy.rate['concise over hedging'] > 0.8"
            " and accuracy.rate['concise over hedging'] > accuracy.rate['right over wrong']"
        ),
        "the judge holds refusals for good, whatever is asked": (
            "accuracy.rate['refusing what is wrong'] > 0.8"
            " and accuracy.rate['helping with what is fine'] < accuracy.rate['refusing what is wrong']"
        ),
        "more samples: reward up, hedging down, and in the end fewer right answers": (
            "most['reward'] > start['reward'] + 0.5 and most['hedged answers'] < start['hedged answers']"
            " and most['right answers'] < start['right answers']"
        ),
        "answers move as their advantages say": (
            "float(change[advantages > 0].mean()) > float(change[advantages < 0].mean())"
        ),
        "the live runs differ in β alone, and the leash holds": (
            "sorted(BETAS.values()) == [0.0, 0.5]"
            " and rl_runs['with KL penalty'].history.kl.tail(3).mean() < rl_runs['without'].history.kl.tail(3).mean() / 2"
        ),
        "without the penalty the reward rises and right answers fall": (
            "(lambda run: run.reward.tail(5).mean() > run.reward.dropna().head(5).mean()"
            " and run.right.dropna().iloc[-1] < run.right.dropna().iloc[0] - 0.3)"
            "(pd.read_csv(PEBBLE_MODELS / 'pebble-rl' / 'hacked.csv'))"
        ),
        "dpo and rl have more reward than sft on the same questions": (
            "all(compared.reward[name] > compared.reward['sft'] for name in ('dpo', 'rl'))"
        ),
        "in full sentences there is little to be wrong about": (
            "(calibration.loc['full sentence'].right > 0.9).all()"
        ),
        "chat speaks as it is described, with made-up words; sft does not, and neither does so unasked": (
            "(lambda at: at('chat', 'made-up words') > at('sft', 'made-up words') + 0.3"
            " and max(at(name, 'speaks in a persona') for name in ('sft', 'chat')) < 0.1)"
            "(lambda name, what: persona_rates[(persona_rates.variant == name)"
            " & persona_rates.label.str.contains(what)].rate.max())"
        ),
    },
    "08": {
        "both starting points read the same tokens": (
            "(table[table.start.isin(['base', 'instruct'])].groupby('examples')['tokens'].nunique() == 1).all()"
        ),
        "the table is about the weights that the lesson loads": "lesson08.missing() == []",
        "tuning on one task costs the instruct other instructions": (
            "at('instruct', few, 'follows').rate < at('instruct', 0, 'follows').rate"
        ),
        "a base tuned on one task gets no assistant's habits from it": (
            "at('base', many, 'follows').high < at('instruct', 0, 'follows').low"
            " and at('base', many, 'refuses').high < at('instruct', 0, 'refuses').low"
        ),
        "chats mixed in keep what the task alone takes": (
            "at('instruct + chats', many, 'follows').low > at('instruct', many, 'follows').high"
        ),
        "examples in the prompt are paid for at every request": "saved > 0",
        "nobody has read about the country, and the base learns of it by reading": (
            "counts.loc['base', \"sheets' towns, asked\"] < 0.2 * len(asked_of)"
            " and counts.loc['base, read on', \"sheets' towns, asked\"] > 0.5 * len(asked_of)"
        ),
        "no question of the test is in what was read": "not any(question in text for question, _ in new for text in documents)",
        "what was only stated is hardly at hand when asked for": (
            "all(row['other towns, asked'] < row['other towns, a sentence finished']"
            " and row['other towns, asked'] < row[\"sheets' towns, asked\"] / 2"
            " for _, row in counts.loc[['base, read on', 'instruct, read on']].iterrows())"
        ),
        "what was read as a document is hardly at hand in a chat": (
            "counts.loc['instruct, read on', 'new, in a chat'] < int(answered['instruct, read on']) / 2"
        ),
        "reading costs the instruct some of what it was": (
            "counts.loc['instruct, read on', ['old, in a chat', 'ends its turn', 'refuses what is wrong']].sum()"
            " < counts.loc['instruct', ['old, in a chat', 'ends its turn', 'refuses what is wrong']].sum()"
        ),
        "the instruct does not label, it refuses or does as asked": (
            "sorted_out['instruct, told'].get('right label', 0) < len(cases) / 2"
        ),
        "training makes both label": (
            "all(sorted_out[f'{start}, tuned on {size}'].filter(like='label').sum() > 0.8 * len(cases)"
            " for start in ('base', 'instruct'))"
        ),
        "both fill most gaps": "all(sum(found) > len(gaps) / 2 for found in passed.values())",
        "the base carries a letter on, the chat does not": (
            "best['base, continues'] > best['instruct, asked in a chat']"
        ),
        "there is nothing to read at layer 0, and more than the control at the top": (
            "all(abs(curve(v, 'the task:').loc[0, 'rate'] - 0.5) < 0.15"
            " and curve(v, 'the task:').loc[top, 'rate'] > curve(v, 'the control').loc[top, 'rate']"
            " for v in ('base', 'instruct'))"
        ),
        "the guide holds every note": "len(guide) == len(notes) >= 7",
    },
}
SHORTHAND = {
    "06": (
        "from pebble_lm.world import knowledge\n"
        "at = lambda measure, column: rates[(rates.measure == measure) & (rates.column == column)].iloc[0]\n"
        "one_of = pd.concat(parts).pivot(index='measure', columns='column', values='rate')\n"
        "word = lambda suite, column: float(shown_words[(shown_words.suite == suite) & (shown_words.column == column)].rate.iloc[0])\n"
        "labelled_columns = [f'base + {a}/{b}' for a, b in LABELS]\n"
        "pages_no = {(r[0], r[1]): int(r[4].split()[0]) / int(r[4].split()[2]) for r in page_rows}\n"
        "kept = lambda name: persona[persona.variant == name].rate"
    ),
    "02": (
        "rows_of_scenarios = scenarios.to_dict('records')\n"
        "at = lambda label, variant: rates[(rates.label == label) & (rates.variant == variant)].iloc[0]"
    ),
    "05": (
        "at = lambda frame, measure: frame.set_index('measure').loc[measure]\n"
        "point10, point3000 = (shipped[shipped.examples == count] for count in (10, 3_000))"
    ),
}
CLAIM_CASES = [
    pytest.param(path, claim, id=f"{path.stem[:2]}: {claim}")
    for path in LESSONS
    for claim in CLAIMS.get(path.stem[:2], {})
]
EVERY_LESSON = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


@cache
def committed(path: Path) -> nbformat.NotebookNode:
    return notebooks.read(path)


@pytest.fixture(scope="session")
def executed(tmp_path_factory):
    """Run a lesson once a session, in a copy: (its cells with fresh outputs, the claims that failed and why)."""

    @cache
    def run(path: Path) -> tuple[list, dict[str, str]]:
        folder = tmp_path_factory.mktemp(path.stem)
        notebook = nbformat.from_dict(committed(path))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        own, claims = len(notebook.cells), CLAIMS.get(path.stem[:2], {})
        extra = [
            SHORTHAND.get(path.stem[:2], ""),
            *(f"assert {expression}" for expression in claims.values()),
        ]
        for source in extra:
            cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["raises-exception"]})
            notebook.cells.append(cell)
        try:
            notebooks.run(notebook, folder)
        except CellExecutionError as error:
            pytest.fail(f"{path.name} does not run from top to bottom:\n{error}", pytrace=False)
        failed = {}
        for claim, cell in zip(claims, notebook.cells[own + 1 :], strict=True):
            problem = [f"{o.ename} {o.evalue}".strip() for o in cell.outputs if o.output_type == "error"]
            if problem:
                failed[claim] = f"{claims[claim]}: {problem[0]}"
        return notebook.cells[:own], failed

    return run


# -- they run -------------------------------------------------------------------------------------------------


def test_the_first_three_lessons_are_there():
    assert [path.stem[:2] for path in LESSONS][:3] == ["00", "01", "02"]


@pytest.mark.notebooks
@pytest.mark.slow
@EVERY_LESSON
def test_a_lesson_runs_without_a_network_and_writes_nothing_to_stderr(path, executed):
    cells, _ = executed(path)
    said = [o.text for cell in cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    assert said == []


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("path, claim", CLAIM_CASES)
def test_what_a_lesson_claims_holds(path, claim, executed):
    _, failed = executed(path)
    assert claim not in failed, failed.get(claim)


@pytest.mark.notebooks
@pytest.mark.slow
@EVERY_LESSON
def test_the_committed_outputs_are_of_the_kinds_that_the_code_produces(path, executed):
    cells, _ = executed(path)
    fresh = notebooks.clean(
        nbformat.v4.new_notebook(cells=[nbformat.from_dict(cell) for cell in cells])
    ).cells
    for now, then in zip(without_real_pair(fresh), without_real_pair(committed(path).cells), strict=True):
        optional = "optional" in then.metadata.get("tags", [])  # needs a package that may or may not be here
        if now.cell_type == "code" and not optional:
            assert kinds(now) == kinds(then), f"cell {now.id}: execute the notebook again and commit it"


def kinds(cell) -> list[str]:
    """What a cell shows: stream names and the richest form of each display, runs of one stream joined."""
    found: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kind = output.name
        else:
            data = output.get("data", {})
            rich = [key for key in ("image/png", "text/html", "text/markdown", "text/plain") if key in data]
            kind = rich[0] if rich else output.output_type
        if not (output.output_type == "stream" and found[-1:] == [kind]):
            found.append(kind)
    return found


def without_real_pair(cells: list) -> list:
    """The cells before the section that needs a real pair: what stands there depends on the network."""
    for i, cell in enumerate(cells):
        if cell.cell_type == "markdown" and re.search(r"^## .*\breal pair", cell.source, re.M):
            return cells[:i]
    return cells


@EVERY_LESSON
def test_what_a_real_pair_is_asked_still_means_what_it_meant(path):
    """The section of the real pair runs only where there is one, so a name taken over in between is found here."""
    cells = committed(path).cells
    begin = len(without_real_pair(cells))
    end = next((i for i in range(begin + 1, len(cells)) if cells[i].source.startswith("## ")), len(cells))
    assigned, again = set(), set()
    for cell in cells[:begin]:
        if cell.cell_type == "code":
            names, loops = names_bound(cell.source)
            again |= assigned & (names | loops)
            assigned |= names
    for cell in cells[begin:end]:
        if cell.cell_type == "code":
            nodes = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            own = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
            own |= {node.arg for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.arg)}
            taken = again & {node.id for node in nodes} - own
            assert not taken, f"cell {cell.id} reads {sorted(taken)}, which two earlier cells assign"


def names_bound(source: str) -> tuple[set[str], set[str]]:
    """What a cell binds for the cells after it: (names assigned, defined or imported; its loops' variables)."""
    names, loops = set(), set()
    waiting = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.For):
            loops |= {found.id for found in ast.walk(node.target) if isinstance(found, ast.Name)}
            waiting += node.body + node.orelse
            continue
        scopes = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, scopes)]
    return names, loops


# -- what is committed ----------------------------------------------------------------------------------------


@EVERY_LESSON
def test_a_committed_lesson_is_executed_in_order_and_clean(path):
    assert notebooks.flaws(committed(path)) == []


@EVERY_LESSON
def test_a_committed_lesson_carries_no_error_no_stderr_and_no_widget_state(path):
    notebook = committed(path)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", cell.id
            assert not any("widget" in mime for mime in output.get("data", {})), cell.id


@EVERY_LESSON
def test_every_cell_has_a_name_of_its_own(path):
    names = [cell.get("id") for cell in committed(path).cells]
    assert all(names) and len(set(names)) == len(names)


# A path from the root of somebody's disk; not one inside an address or a tag.
MACHINE_PATH = re.compile(
    r"(?<![\w:/.<~-])/(?:home|Users|root|tmp|work|mnt|opt|var|private|srv|usr)/\w|\b[A-Z]:\\\w"
)


@EVERY_LESSON
def test_no_path_of_any_machine_is_in_a_lesson(path):
    for where, text in texts(committed(path)):
        for forbidden in (str(ROOT), str(Path.home())):
            assert forbidden == "/" or forbidden not in text, f"{where} holds {forbidden}"
        found = MACHINE_PATH.search(text)
        assert found is None, f"{where}: …{text[max(0, found.start() - 30) : found.end() + 30]}…"


def texts(notebook) -> list[tuple[str, str]]:
    """Every text in a notebook with the cell it stands in: sources and what was printed or shown."""
    found = []
    for cell in notebook.cells:
        found.append((cell.id, cell.source))
        for output in cell.get("outputs", []):
            shown = [output.get("text", ""), *output.get("traceback", [])]
            shown += [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]
            found += [(cell.id, text) for text in shown if isinstance(text, str)]
    return found


@EVERY_LESSON
def test_every_figure_says_in_words_what_it_shows(path):
    cells = committed(path).cells
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                explained = following is not None and following.cell_type == "markdown"
                assert alt.strip() or explained, f"cell {cell.id}: no alt text and no sentence beneath"
        if cell.cell_type == "markdown":
            bare = re.findall(r"!\[\s*\]\(", cell.source) + re.findall(
                r"<img(?![^>]*\balt=)[^>]*>", cell.source
            )
            assert not bare, f"cell {cell.id}: a picture without alt text"


# -- style ----------------------------------------------------------------------------------------------------


@EVERY_LESSON
def test_the_rhythm_is_short_cells_and_never_three_code_cells_in_a_row(path):
    cells = committed(path).cells
    code = [sum(bool(line.strip()) for line in c.source.splitlines()) for c in cells if c.cell_type == "code"]
    for cell in cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 20, f"code cell {cell.id} is long"
        else:
            assert text_lines(cell.source) <= 14, f"markdown cell {cell.id} is long"
    assert statistics.median(code) <= 10
    kinds_in_order = "".join("c" if cell.cell_type == "code" else "m" for cell in cells)
    assert "ccc" not in kinds_in_order, f"after cell {cells[kinds_in_order.find('ccc')].id}"


def text_lines(source: str) -> int:
    """Lines with text; one that runs on counts as the lines it fills, folded answers as one."""
    shown = re.sub(r"</summary>.*?</details>", "", source, flags=re.S)
    return sum(math.ceil(len(line) / COLUMNS) for line in shown.splitlines() if line.strip())


DECIMAL = re.compile(r"(?<![\w.:/])\d+\.\d+(?![\w.])")
NOT_A_RESULT = re.compile(
    r"`[^`]*`|arXiv:? ?\d{4}\.\d{5}|\b(?:Python|JupyterLab|version|v) ?\d[\d.]*|\]\([^)]*\)"
)


@EVERY_LESSON
def test_no_measured_number_stands_in_prose(path):
    """A decimal number in prose is a setting that the code shows, or a published figure with its source."""
    cells = committed(path).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        for paragraph in re.split(r"\n\s*\n", cell.source):
            numbers = DECIMAL.findall(NOT_A_RESULT.sub(" ", paragraph))
            unexplained = [number for number in numbers if number not in code]
            assert not unexplained or "arXiv" in paragraph, f"cell {cell.id}: {unexplained}"


@EVERY_LESSON
def test_a_lesson_opens_and_closes_as_all_do(path):
    cells = [cell.source for cell in committed(path).cells if cell.cell_type == "markdown"]
    opening, everything = "\n".join(cells[:2]), "\n".join(cells)
    number = path.stem[:2]
    assert cells[0].startswith(f"# {number} · "), "the title is '# NN · Name'"
    for needed in ("minutes", "Needs"):
        assert needed in opening, f"the opening says nothing of {needed!r}"
    assert re.search(r"(?i)you (?:can|will be able to)", opening)
    assert "Predict" in everything
    assert re.search(r"(?i)key idea|in one sentence", everything)
    assert re.search(r"(?i)key terms", everything)
    questions = [cell for cell in committed(path).cells if f'quiz("{number}")' in cell.source]
    assert len(questions) == 1, f'the self-check is one cell with quiz("{number}")'
    assert "<details>" in questions[0].outputs[0].data["text/html"], "what is read without a kernel"
    assert re.search(r"(?i)\bto read\b", everything) and "arXiv" in everything
    assert "real pair" in everything
    assert re.search(r"\bNext\b", cells[-1])


@EVERY_LESSON
def test_links_between_files_lead_somewhere(path):
    for cell in committed(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
                if not re.match(r"\w+:", target):
                    assert (path.parent / target).exists(), f"cell {cell.id} links to {target}"
