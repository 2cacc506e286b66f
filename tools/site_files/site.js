/* A playground in a frame says how tall it is, and its frame becomes so tall. */
window.addEventListener("message", ({ source, data }) => {
  if (typeof data?.playgroundHeight !== "number") return;
  for (const frame of document.querySelectorAll("iframe.playground")) {
    if (frame.contentWindow === source) frame.style.height = `${data.playgroundHeight}px`;
  }
});

/* A self-check question: a choice that was made says whether it is right, and why. */
function answer(choice) {
  const why = document.getElementById(choice.getAttribute("aria-controls"));
  const right = choice.dataset.right === "yes";
  choice.setAttribute("aria-expanded", "true");
  choice.classList.add(right ? "right" : "wrong");
  why.hidden = false;
  const quiz = choice.closest(".self-check"), questions = [...quiz.querySelectorAll(".question")];
  const known = questions.filter((question) => question.querySelector(".choice.right")).length;
  const soFar = `${known} of ${questions.length} answered right.`;
  quiz.querySelector(".so-far").textContent = soFar;
  quiz.querySelector("[role=status]").textContent = `${why.textContent} ${soFar}`;
}

/* What explains a result that is folded is hidden until it is opened, or until the browser's own search finds it. A cell
 * that shows nothing, or a playground, may stand between the two. */
function hideExplanation(explained) {
  let folds = [];
  for (let before = explained.previousElementSibling; before && !folds.length; before = before.previousElementSibling) {
    folds = before.querySelectorAll("details.below-input");
  }
  if (!folds.length) return;
  const fold = folds[folds.length - 1];
  const show = () => (fold.open ? explained.removeAttribute("hidden") : explained.setAttribute("hidden", "until-found"));
  fold.addEventListener("toggle", show);
  explained.addEventListener("beforematch", () => (fold.open = true));
  show();
}

window.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".explained").forEach(hideExplanation);
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details.below-input")) fold.open = true;
  });
  for (const choice of document.querySelectorAll(".self-check .choice")) {
    choice.addEventListener("click", () => answer(choice));
  }
  for (const button of document.querySelectorAll("button.copybtn")) button.setAttribute("aria-label", "Copy this code");
});
