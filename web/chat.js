/* The chat template (ChatML): how a conversation becomes one text. The same as chat_template.jinja, in JavaScript.
 *
 *   <|endoftext|><|im_start|>user
 *   What is the capital of France?<|im_end|>
 *   <|im_start|>assistant
 *                                     ← the generation prompt ends here, and the model writes on
 */
"use strict";

/* The parts of the text with their roles: [{ text, role }]. `messages` are { role, content }. With
 * `answer`, the assistant's turn is opened (the generation prompt) and holds this beginning of an answer. */
function chatParts(messages, answer = null) {
  const parts = [{ text: "<|endoftext|>", role: "template" }];
  for (const { role, content } of messages) {
    parts.push({ text: `<|im_start|>${role}\n${content}<|im_end|>\n`, role });
  }
  if (answer !== null) {
    parts.push({ text: "<|im_start|>assistant\n", role: "generation prompt" });
    if (answer) parts.push({ text: answer, role: "assistant" });
  }
  return parts;
}

/* The ids that both variants read, each with its role: [{ id, role }]. No BOS is added: the template wrote one. */
function chatTokens(tokenizer, messages, answer = null) {
  const parts = chatParts(messages, answer);
  const ends = [];
  parts.forEach((part, i) => ends.push((ends[i - 1] ?? 0) + part.text.length));
  return tokenizer
    .encodeWithPlaces(parts.map((part) => part.text).join(""), false)
    .map(({ id, at }) => ({ id, role: parts[ends.findIndex((end) => at < end)].role }));
}
