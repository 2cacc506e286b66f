"""Fresh inputs for checks: numbers, stand-ins for models, and sentences about facts for the learner's own pair."""

from collections.abc import Sequence
from functools import cache
from random import Random
from types import SimpleNamespace

import torch

from course_utils.evaluate import mcnemar
from course_utils.pairs import Pair, load_pair
from course_utils.variant import Completion, is_messages

TOY_STATES = 211


def normal(rng: Random, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """Normally distributed numbers, float32."""
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    return torch.randn(*shape, generator=generator) * scale


def integers(rng: Random, n: int, below: int) -> list[int]:
    """n whole numbers from 0 to below-1."""
    return [rng.randrange(below) for _ in range(n)]


class ToyModel:
    """Called like a language model: `model(input_ids).logits`, shape (texts, tokens, vocabulary), and with `labels`
    its `.loss`.

    The scores after each token depend on the whole text up to there, and on nothing after it.
    """

    def __init__(self, rng: Random, vocab: int = 24):
        self.vocab = vocab
        self.device = torch.device("cpu")
        self._table = normal(rng, TOY_STATES, vocab, scale=2.0)
        self._factor = rng.randrange(2, TOY_STATES)

    def __call__(
        self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **ignored
    ) -> SimpleNamespace:
        if not isinstance(input_ids, torch.Tensor) or input_ids.dim() != 2:
            raise ValueError(
                "The model takes a tensor of ids of shape (texts, tokens), such as torch.tensor([ids])."
            )
        states = []
        for row in input_ids.tolist():
            state, path = 0, []
            for token_id in row:
                state = (state * self._factor + token_id + 1) % TOY_STATES
                path.append(state)
            states.append(path)
        logits, loss = self._table[torch.tensor(states)], None
        if (
            labels is not None
        ):  # as the models of transformers do: each row against the next label, -100 left out
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(logits=logits, loss=loss)


def pair() -> Pair:
    """The pair of the lesson: Pebble, or what COURSE_PAIR names."""
    return load_pair()


@cache
def statements() -> tuple[tuple[str, str], ...]:
    """(opening, ending) of true sentences about countries."""
    from pebble_lm.world import knowledge

    wanted = {"capital": "The capital of {} is", "currency": "The currency of {} is"}
    return tuple(
        (wanted[fact.relation.name].format(fact.name), " " + fact.value)
        for fact in knowledge.facts()
        if fact.relation.table == "countries" and fact.relation.name in wanted
    )


def statement(rng: Random) -> tuple[str, str]:
    """The beginning of a true sentence, and how it ends: ("The capital of Japan is", " Tokyo")."""
    return rng.choice(statements())


def questions(rng: Random, n: int) -> list[tuple[str, str]]:
    """n (question, right answer) pairs about entities of the test split, all different."""
    from pebble_lm.world.questions import draw_facts, plain_question

    facts = draw_facts(rng, 3 * n, lambda fact: fact.split == "test")
    return list({plain_question(rng, fact): fact.value for fact in facts}.items())[:n]


class ScriptedVariant:
    """Stands in for a Variant: it knows what to write after each question, framed, bare or in a chat."""

    def __init__(self, name: str, script: dict[str, dict[str, str]], has_chat_template: bool):
        self.name = name
        self.has_chat_template = has_chat_template
        self._script = script

    def complete(self, prompt, max_new_tokens: int = 64, **settings) -> Completion:
        if isinstance(prompt, (list, tuple)) and prompt and is_messages(prompt):
            return self.chat(prompt)
        if not isinstance(prompt, str):
            raise TypeError("Here a prompt is a text or a list of messages.")
        question = max((q for q in self._script if q in prompt), key=len, default=None)
        form = "bare" if question is None or prompt.strip() == question else "framed"
        return self._completion(prompt, question, form)

    def complete_batch(self, prompts: Sequence, max_new_tokens: int = 64, **settings) -> list[Completion]:
        if isinstance(prompts, str) or is_messages(prompts):
            raise TypeError(
                "complete_batch takes a list of prompts; for a single one use complete() or chat()."
            )
        return [self.complete(prompt) for prompt in prompts]

    def chat(
        self, messages_or_text, system: str | None = None, max_new_tokens: int = 64, **settings
    ) -> Completion:
        if not self.has_chat_template:
            raise ValueError(f"{self.name} has no chat template, as is usual for a base model.")
        text = messages_or_text if isinstance(messages_or_text, str) else messages_or_text[-1]["content"]
        return self._completion(text, text.strip(), "chat")

    def chat_batch(
        self, conversations, system=None, max_new_tokens: int = 64, **settings
    ) -> list[Completion]:
        return [self.chat(one) for one in conversations]

    def _completion(self, prompt: str, question: str | None, form: str) -> Completion:
        text = self._script.get(question, {}).get(form, "\nWhat comes next?")
        return Completion(text, [1, 2], [-0.1, -0.1], "eos", prompt)


class ScriptedPair:
    """Stands in for a Pair of scripted variants."""

    def __init__(self, base: ScriptedVariant, instruct: ScriptedVariant):
        self.base, self.instruct, self.name = base, instruct, "scripted"

    def __iter__(self):
        return iter((self.base, self.instruct))

    def __getitem__(self, variant: str) -> ScriptedVariant:
        return {"base": self.base, "instruct": self.instruct}[variant]


def more_or_fewer(before: list[bool], after: list[bool]) -> str | None:
    """fewer, as many or more right ones of the same questions; None where the paired test leaves it open."""
    only_before = sum(x and not y for x, y in zip(before, after))
    only_after = sum(y and not x for x, y in zip(before, after))
    p = mcnemar(only_before, only_after)
    if 0.01 < p < 0.2:
        return None
    return "as many" if p >= 0.2 else "more" if only_after > only_before else "fewer"
