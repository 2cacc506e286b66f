/* A playground in a frame says how tall it is, and its frame becomes so tall. */
window.addEventListener("message", ({ source, data }) => {
  if (typeof data?.playgroundHeight !== "number") return;
  for (const frame of document.querySelectorAll("iframe.playground")) {
    if (frame.contentWindow === source) frame.style.height = `${data.playgroundHeight}px`;
  }
});
