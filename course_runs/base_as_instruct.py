"""A base model asked like an instruct model: by prompting alone, without a chat template and without fine-tuning."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from course_utils.completion import Completion

if TYPE_CHECKING:
    from course_utils.variant import Variant


def qa_prompt(
    question: str,
    system_prompt: str = "You are a helpful assistant.",
    examples: Iterable[tuple[str, str]] = (),
) -> str:
    """Return the plain-text frame that makes a base model answer: a description, worked examples, an open
    answer.

    `examples` are (question, answer) pairs. An empty `system_prompt` leaves the first line out.
    """
    blocks = [system_prompt] if system_prompt else []
    blocks += [f"Question: {asked}\nAnswer: {answer}" for asked, answer in examples]
    # No space behind the colon: the model's tokens begin with their space (" Paris").
    blocks.append(f"Question: {question}\nAnswer:")
    return "\n\n".join(blocks)


def query_base_as_instruct(
    base: "Variant",
    question: str,
    system_prompt: str = "You are a helpful assistant.",
    examples: Iterable[tuple[str, str]] = (),
    max_new_tokens: int = 64,
    stop: str | Sequence[str] | None = ("\nQuestion:", "\n\n"),
    **settings,
) -> Completion:
    """Ask a base model a question by prompting alone: no chat template, no fine-tuning.

    The completion's `prompt` is the exact text the model saw (see `qa_prompt`). A base model does not know
    when to stop, so the answer is cut where the next question or a blank line begins; `text` has no
    surrounding whitespace. Further settings are those of `Variant.complete`.
    """
    prompt = qa_prompt(question, system_prompt, examples)
    # A base model has no end of turn; it would go on to ask itself the next question.
    answer = base.complete(prompt, max_new_tokens, stop=stop, **settings)
    return Completion(
        answer.text.strip(), answer.token_ids, answer.logprobs, answer.stop_reason, answer.prompt
    )
