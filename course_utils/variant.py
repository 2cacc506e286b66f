"""One language model and its tokenizer: probabilities, generation, chat.

Prompts come in three forms everywhere: a `str` (tokenized as the tokenizer does by default, so with its BOS
if it has one), a list of messages `{"role": …, "content": …}` (rendered by the chat template, with the
generation prompt), or token ids.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Integral

import numpy as np
import pandas as pd
import torch

from .completion import Completion, shorten
from .sampling import accepts, cache_name, check_sampling, processed_probs, require_numbers
from .tokens import IGNORED, require_encodable, token_text

Messages = Sequence[Mapping[str, str]]
Prompt = str | Messages | Sequence[int] | torch.Tensor

_CHUNK_ELEMENTS = 2**23  # logits of at most this many numbers (32 MB in float32) are held at a time


class Variant:
    """A causal language model with its tokenizer, ready to be asked.

    `name` is what tables and plots call it. The model and the tokenizer are used as they are and never
    changed.
    """

    def __init__(self, name: str, model, tokenizer):
        self.name = name
        self.model = model
        self.tokenizer = tokenizer

    def __repr__(self) -> str:
        template = "chat template" if self.has_chat_template else "no chat template"
        stops = ", ".join(self.token_text(i) for i in self.eos_token_ids) or "nothing"
        dtype = str(self.model.dtype).removeprefix("torch.")
        return (
            f"Variant {self.name!r}: {_millions(self.num_parameters)} parameters, {dtype} on {self.device}, "
            f"{template}, stops at {stops}"
        )

    # -- what the model is -----------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def num_parameters(self) -> int:
        # A tensor that two layers share, such as an embedding tied to the head, is counted once.
        return sum(p.numel() for p in self.model.parameters())

    @property
    def has_chat_template(self) -> bool:
        return self.tokenizer.chat_template is not None

    @property
    def eos_token_ids(self) -> list[int]:
        """Ids that end generation: the generation config's, as in `generate`, or else the tokenizer's."""
        # One id or several (Llama 3 has two): `generate` stops at any of them.
        told = (self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id)
        ids = next((ids for ids in told if ids is not None), [])
        return [ids] if isinstance(ids, int) else list(ids)

    @property
    def context_length(self) -> int | None:
        """The most tokens the model was built to see at once; None where its config does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    # -- text to ids and back --------------------------------------------------------------------------------

    def encode(
        self,
        prompt: Prompt,
        *,
        chat_template: str | None = None,
        add_generation_prompt: bool = True,
        template_options: Mapping | None = None,
    ) -> list[int]:
        """Return the token ids the model sees for this prompt: the one place where prompts become ids.

        `chat_template` (Jinja text) stands in for the tokenizer's own, `template_options` are handed to the
        template (such as `{"enable_thinking": False}`); both apply to messages only. Raises ValueError for an
        empty prompt, for messages without a template, and for messages that end with the assistant while a
        generation prompt is asked for; TypeError for anything that is not a prompt.
        """
        if isinstance(prompt, str):
            require_encodable(prompt)
            # With whatever the tokenizer adds by itself, such as a BOS.
            ids = self.tokenizer(prompt)["input_ids"]
        elif is_messages(prompt):
            # The template writes its own BOS and marks, so the tokenizer must not add them a second time.
            ids = self._encode_messages(prompt, chat_template, add_generation_prompt, template_options)
        else:
            ids = _as_ids(prompt)
        if not ids:
            raise ValueError(
                f"The prompt holds no token, and {self.name} cannot predict from nothing: this tokenizer adds no BOS. "
                "Give at least one character or token id."
            )
        self._check_ids(ids)
        return ids

    def _check_ids(self, ids: list[int]) -> None:
        vocabulary = self.model.get_input_embeddings().weight.shape[0]  # (vocab, width)
        # An id beyond the embedding would be an index error deep inside the model.
        outside = next((i for i in ids if not 0 <= i < vocabulary), None)
        if outside is not None:
            labels = "-100 marks what labels leave out; give input_ids"
            hint = labels if outside == IGNORED else "the ids are another's"
            raise ValueError(
                f"The prompt holds token id {outside}, but {self.name} has the ids 0 to {vocabulary - 1}: {hint}, or "
                "the tokenizer belongs to another model."
            )

    def _encode_messages(self, messages, chat_template, add_generation_prompt, template_options) -> list[int]:
        if not self.has_chat_template and chat_template is None:
            raise ValueError(
                f"{self.name} has no chat template, as is usual for a base model. Use complete() with plain text or "
                "query_base_as_instruct(), or pass chat_template= to try one all the same."
            )
        if add_generation_prompt and messages[-1]["role"] == "assistant":
            raise ValueError(
                "The last message is the assistant's, so the generation prompt would open a second assistant turn. "
                "End with a user message; to continue the answer, pass the ids of "
                "tokenizer.apply_chat_template(..., continue_final_message=True)."
            )
        options = dict(template_options or {})
        if chat_template is not None and self.tokenizer.bos_token is None:
            options.setdefault("bos_token", "")  # another family's template may add to it
        # Loaded here: a plain prompt needs no template.
        from .roles import template_errors_explained

        messages = [dict(message) for message in messages]
        with template_errors_explained(messages):
            encoded = self.tokenizer.apply_chat_template(
                messages,
                chat_template=chat_template,
                add_generation_prompt=add_generation_prompt,
                tokenize=True,
                return_dict=True,
                **options,
            )
        return list(encoded["input_ids"])

    def token_text(self, token_id: int) -> str:
        """Return one token as text, its leading space kept; part of a character as bytes, such as `<0xE2>`."""
        return token_text(self.tokenizer, token_id)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Return the text of these ids, with its spaces as they are, the first token's too where one has it."""
        ids, options = list(ids), {"clean_up_tokenization_spaces": False}
        text = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, **options)
        first = self.token_text(ids[0]) if ids else ""
        # SentencePiece decoders drop a space in front, also of what continues a text.
        dropped = first[:1] == " " and first[1:] == self.tokenizer.decode(ids[:1], **options)
        return " " + text if dropped else text

    # -- probabilities ---------------------------------------------------------------------------------------

    def next_token_logits(self, prompt: Prompt) -> torch.Tensor:
        """Return the logits of the token after the prompt: float32, shape `(vocab,)`, on the model's device."""
        ids = self.encode(prompt)
        self.check_length(len(ids))
        # Inference tensors refuse in-place changes later on; a learner may well want to set a logit to -inf.
        return self._last_logits(ids).clone()

    @torch.inference_mode()
    def _last_logits(self, ids: list[int]) -> torch.Tensor:
        # Only the last place is asked for; the others' logits would be (length, vocab) numbers for nothing.
        options = {"logits_to_keep": 1} if accepts(self.model, "logits_to_keep") else {}
        input_ids = torch.tensor([ids], device=self.device)  # (1, length)
        logits = self.model(input_ids=input_ids, use_cache=False, **options).logits  # (1, 1 or length, vocab)
        return logits[0, -1].float()  # (vocab,)

    def next_token_probs(
        self, prompt: Prompt, k: int | None = 10, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
    ) -> pd.DataFrame:
        """Return the `k` most probable next tokens (None: all), one a row, best first.

        Columns: rank (from 1), token (its text), token_id, prob, logprob (natural log). `temperature`,
        `top_k` and `top_p` reshape the distribution as they do in sampling; tokens they rule out are not
        listed.
        """
        if k is not None and k < 1:
            raise ValueError(f"k must be 1 or more, or None for the whole vocabulary, got {k}.")
        check_sampling(temperature, top_k, top_p)
        ids = self.encode(prompt)
        self.check_length(len(ids))
        logits = self._last_logits(ids)  # (vocab,)
        probs = processed_probs(logits, temperature, top_k, top_p)  # (vocab,)
        best = probs.topk(min(k or probs.shape[-1], probs.shape[-1]))  # values and ids, each (k,), best first
        # What top_k or top_p ruled out has probability 0 and is not listed.
        kept = int((best.values > 0).sum())
        token_ids = best.indices[:kept].tolist()
        return pd.DataFrame(
            {
                "rank": range(1, kept + 1),
                "token": [self.token_text(i) for i in token_ids],
                "token_id": token_ids,
                "prob": best.values[:kept].tolist(),
                "logprob": best.values[:kept].log().tolist(),
            }
        )

    def token_logprobs(self, text: Prompt) -> pd.DataFrame:
        """Score a text under the model, one row a token.

        Columns: position (from 0), token, token_id, logprob (natural log), prob, rank (1 = the model's first
        choice) and entropy (nats) of the distribution that predicted the token. Nothing predicts the first
        token: its last four are missing. Messages are scored as the rendered conversation, without a
        generation prompt.
        """
        ids = self.encode(text, add_generation_prompt=False)
        # The first token has no score: nothing stands before it that could predict it.
        scores = {"logprob": [float("nan")], "rank": [None], "entropy": [float("nan")]}
        for start, logits in self.iter_logits(ids[:-1]):
            # Position t predicts token t + 1, so the targets are the ids one place to the left.
            following = ids[start + 1 : start + 1 + len(logits)]
            target = torch.tensor(following, device=logits.device)[:, None]  # (chunk, 1)
            require_numbers(logits)
            logprobs = logits.log_softmax(-1)  # (chunk, vocab)
            of_target = logprobs.gather(-1, target)  # (chunk, 1)
            scores["logprob"] += of_target[:, 0].tolist()
            # Rank 1: no token was more probable than the one that came.
            scores["rank"] += ((logprobs > of_target).sum(-1) + 1).tolist()
            # entr(p) is -p log p, and 0 at p = 0, where the logarithm would be infinite.
            scores["entropy"] += torch.special.entr(logprobs.exp()).sum(-1).tolist()
        table = pd.DataFrame(
            {
                "position": range(len(ids)),
                "token": [self.token_text(i) for i in ids],
                "token_id": ids,
                "logprob": scores["logprob"],
            }
        )
        table["prob"] = np.exp(table["logprob"])
        table["rank"] = pd.array(scores["rank"], dtype="Int64")
        table["entropy"] = scores["entropy"]
        return table

    def iter_logits(self, ids: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield `(start, logits)` chunk by chunk: float32 logits `(n, vocab)` of positions start … start+n-1.

        Chunks keep memory flat for large vocabularies; the KV cache carries over (a recurrent model: one chunk).
        """
        ids = list(ids)
        self.check_length(len(ids))
        vocab = self.model.get_output_embeddings().weight.shape[0]
        # A vocabulary of 150,000 takes 0.6 MB per position in float32; so only so many positions at a time.
        size = max(1, _CHUNK_ELEMENTS // vocab if cache_name(self.model) else len(ids))
        cache = None  # keys and values of the chunks before
        for start in range(0, len(ids), size):
            logits, cache = self._all_logits(ids[start : start + size], cache, use_cache=len(ids) > size)
            yield start, logits

    @torch.inference_mode()
    def _all_logits(self, ids: list[int], cache, use_cache: bool):
        input_ids = torch.tensor([ids], device=self.device)  # (1, chunk)
        name = cache_name(self.model)
        output = self.model(input_ids=input_ids, use_cache=use_cache, **({name: cache} if use_cache else {}))
        # In float32: bfloat16 has three digits, and near probabilities would tie.
        return output.logits[0].float(), getattr(output, name) if use_cache else None

    # -- generation ------------------------------------------------------------------------------------------

    def complete(
        self,
        prompt: Prompt,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        stream: bool = False,
    ) -> Completion:
        """Let the model write on after the prompt.

        Temperature 0 is greedy; anything above samples, after `top_k` and `top_p`, reproducibly when `seed`
        is given. Generation ends at the model's eos, before the first of the `stop` strings, or after
        `max_new_tokens`. `stream=True` prints the text as it comes. Of the shipped generation config only the
        eos ids are used: a repetition penalty or a temperature in it is left out, so that two models are
        compared on equal terms. Raises ValueError when prompt and new tokens do not fit the context.
        """
        settings = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "stop": stop, "seed": seed}
        pieces = self.stream_complete(prompt, max_new_tokens, **settings)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as done:
                # What a generator returns comes with the exception that ends it.
                if stream:
                    print(flush=True)
                return done.value
            if stream:
                print(piece, end="", flush=True)

    def stream_complete(self, prompt: Prompt, max_new_tokens: int = 64, **settings) -> Iterator[str]:
        """Yield the completion's text in pieces as it is written; the generator returns the Completion.

        The pieces joined are the completion's text: half a character, or what may turn out to be the
        beginning of a stop string, is held back until it is certain. Further settings are those of `complete`.
        """
        from .writing import Job

        job = Job.begin(self, [prompt], max_new_tokens, **settings)
        row = job.rows[0]
        shown = ""  # what the caller has been given so far
        for _ in job.steps():
            # What is printed cannot be taken back, so only what is certain is handed out.
            safe = job.text(row) if row.stop_reason else job.certain_text(row)
            if len(safe) > len(shown) and safe.startswith(shown):
                yield safe[len(shown) :]
                shown = safe
        return job.completion(row, prompt)

    def complete_batch(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int = 64,
        *,
        batch_size: int = 64,
        progress: bool | None = None,
        **settings,
    ) -> list[Completion]:
        """Complete many prompts, `batch_size` at a time, and return the completions in the prompts' order.

        Further settings (`temperature`, `top_p`, `top_k`, `stop`, `seed`) are those of `complete`.
        Prompts of similar length share a left-padded batch, which is where the speed comes from; on a CPU a batch
        of long prompts is smaller, for the sake of memory. In float32 greedy tokens are those of `complete`; in
        bfloat16 a near tie may fall the other way. Prompt i is sampled with seed `seed + i`, so its result depends
        neither on the other prompts nor on the batch size. `progress` None shows a bar for more than twice
        `batch_size` prompts that take longer than two seconds.
        """
        if isinstance(prompts, str) or is_messages(prompts):
            raise TypeError(
                "complete_batch takes a list of prompts; for a single one use complete() or chat()."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}.")
        from .memory import give_back
        from .writing import Job, progress_bar

        prompts = list(prompts)
        job = Job.begin(self, prompts, max_new_tokens, **settings)
        wanted = len(prompts) > 2 * batch_size if progress is None else progress
        with progress_bar(len(prompts), wanted, only_when_slow=progress is None) as bar:
            for batch in job.batches(batch_size):
                for _ in job.steps(batch):
                    pass
                bar.update(len(batch))
        # The allocator keeps freed memory; a notebook that runs for hours would only ever grow.
        if self.device.type == "cpu":
            give_back()
        return [job.completion(row, prompt) for prompt, row in zip(prompts, job.rows, strict=True)]

    def chat(
        self,
        messages_or_text: str | Messages,
        system: str | None = None,
        max_new_tokens: int = 64,
        *,
        chat_template: str | None = None,
        template_options: Mapping | None = None,
        **settings,
    ) -> Completion:
        """Answer a user's text or a conversation through the chat template.

        `system` puts a system message in front. Further settings are those of `complete`. Raises ValueError
        for a variant without a chat template unless `chat_template` gives one.
        """
        messages = as_messages(messages_or_text, system)
        ids = self.encode(messages, chat_template=chat_template, template_options=template_options)
        # Once it is ids, a conversation is written on like any other text: there is no other mode of a model.
        return self.complete(ids, max_new_tokens, **settings)

    def chat_batch(
        self,
        conversations: Iterable[str | Messages],
        system: str | None = None,
        max_new_tokens: int = 64,
        *,
        chat_template: str | None = None,
        template_options: Mapping | None = None,
        **settings,
    ) -> list[Completion]:
        """Answer many texts or conversations; as `chat`, with the settings of `complete_batch`."""
        if isinstance(conversations, str) or is_messages(conversations):
            raise TypeError("chat_batch takes a list of texts or conversations; for a single one use chat().")
        options = {"chat_template": chat_template, "template_options": template_options}
        prompts = [self.encode(as_messages(one, system), **options) for one in conversations]
        return self.complete_batch(prompts, max_new_tokens, **settings)

    def check_length(self, prompt_tokens: int, new_tokens: int = 0, number: int | None = None) -> None:
        # Beyond its context a model has learned no positions: it would fail, or write nonsense without an error.
        limit = self.context_length
        if limit is None or prompt_tokens + new_tokens <= limit:
            return
        which = "The prompt" if number is None else f"Prompt {number}"
        wanted = f" and {new_tokens} new ones were asked for" if new_tokens else ""
        room = limit - prompt_tokens
        advice = f", or set max_new_tokens to {room} or less" if new_tokens and room > 0 else ""
        raise ValueError(
            f"{which} has {prompt_tokens} tokens{wanted}, but {self.name} sees at most {limit} at once. "
            f"Shorten the prompt{advice}."
        )


def as_messages(messages_or_text: str | Messages, system: str | None = None) -> list[dict[str, str]]:
    """Return a conversation as a list of messages; a text becomes one user message, `system` goes in front."""
    if isinstance(messages_or_text, str):
        messages = [{"role": "user", "content": messages_or_text}]
    elif is_messages(messages_or_text):
        # Copies, so that nothing done to the result changes the caller's conversation.
        messages = [dict(message) for message in messages_or_text]
    else:
        raise TypeError(
            "A chat needs a text or a list of messages such as [{'role': 'user', 'content': 'Hi'}], "
            f"got {type(messages_or_text).__name__}."
        )
    if system is None:
        return messages
    if messages[0]["role"] == "system":
        raise ValueError(
            "The messages already begin with a system message; leave out system= or that message."
        )
    return [{"role": "system", "content": system}, *messages]


def is_messages(prompt) -> bool:
    """Whether a prompt is a conversation; ValueError for one whose messages lack a role or a content."""
    if not isinstance(prompt, (list, tuple)) or not prompt or not isinstance(prompt[0], Mapping):
        return False
    for message in prompt:
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ValueError(f"Each message needs a 'role' and a 'content', got {message!r}.")
    return True


def _as_ids(prompt) -> list[int]:
    ids = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if isinstance(ids, (list, tuple)) and all(isinstance(i, Integral) for i in ids):
        return [int(i) for i in ids]
    raise TypeError(
        "A prompt is a str, a list of messages with 'role' and 'content', or a flat list (1-D tensor) of token ids, "
        f"got {shorten(repr(prompt))}."
    )


def _millions(count: int) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.2f}B"
    return f"{count / 1e6:.{2 if count < 1e7 else 0}f}M"
