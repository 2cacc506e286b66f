/* One model in a thread of its own, so that the page never freezes. It answers two requests:
 *   { id, bytes }      load a model file            → { id, header }
 *   { id, ids, from }  the logits after these ids   → { id, logits }   (see Model.logits)
 * What cannot be done is answered with { id, error }.
 */
"use strict";

/* Unpacks a gzip; a server may have done it already, and then the bytes are returned as they are. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.slice().buffer;
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old to unpack the model (Chrome 80, Firefox 113 or Safari 16.4 can).");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function answerRequests(scope) {
  let model = null;
  scope.onmessage = async ({ data: { id, bytes, ids, from } }) => {
    try {
      if (bytes) {
        const { tensors, ...header } = readModelFile(await unpacked(bytes));
        model = new Model({ ...header, tensors });
        scope.postMessage({ id, header });
      } else {
        const logits = model.logits(ids, from);
        scope.postMessage({ id, logits }, [(from == null ? logits : logits[0]).buffer]);
      }
    } catch (error) {
      scope.postMessage({ id, error: error.message });
    }
  };
}

if (typeof WorkerGlobalScope !== "undefined") answerRequests(self);
