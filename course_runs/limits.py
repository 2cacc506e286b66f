"""How many new tokens a model's answers need, so that a limit made for another model does not cut them off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course_utils.variant import Variant


def enough_tokens(
    variant: Variant, prompts: Sequence[Any], least: int = 48, most: int = 192, share: float = 0.9
) -> int:
    """The smallest limit of `least`, 2 · `least`, … at which `share` of the greedy answers end by themselves.

    A small model's answers end within a sentence, another's after a paragraph; a limit made for the first would cut
    off the second and call it endless. Where too few end even within `most` tokens, `most` is returned. A few
    prompts do (a dozen); each is asked through the chat template where there is one, and as bare text otherwise.
    Raises ValueError without prompts, or for limits that are not 0 < least <= most.
    """
    if not prompts or not 0 < least <= most:
        raise ValueError(
            f"Give at least one prompt, and limits with 0 < least <= most; got {len(prompts)} prompts, {least} "
            f"and {most}."
        )
    ask = variant.chat_batch if variant.has_chat_template else variant.complete_batch
    limit, open_prompts = least, list(prompts)
    while True:
        written = ask(open_prompts, max_new_tokens=limit, progress=False)
        open_prompts = [asked for asked, done in zip(open_prompts, written, strict=True) if not done.stopped]
        ended = len(prompts) - len(open_prompts)
        if ended >= share * len(prompts) or limit >= most:
            return limit
        limit = min(2 * limit, most)
