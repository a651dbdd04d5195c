"use strict";
(() => {
  const [field, backdrop, said, result, example] =
    ["#text", ".backdrop", "#said", "#result", "#example"].map((name) => document.querySelector(name));
  const examples = JSON.parse(document.querySelector("#examples").textContent);
  const PAUSE = 180; // milliseconds without a key before the text is sent
  let timer, asking = false, sent = null;

  const mark = (error) => {
    backdrop.replaceChildren();
    if (error && error.line) {
      const lines = field.value.split("\n");
      const start = lines.slice(0, error.line - 1).reduce((sum, line) => sum + line.length + 1, 0) + error.column - 1;
      const wrong = document.createElement("mark");
      wrong.textContent = field.value.slice(start, start + error.length) || " ";
      backdrop.append(field.value.slice(0, start), wrong, field.value.slice(start + error.length), "\n");
    }
    scrolled();
  };
  const scrolled = () => { backdrop.scrollTop = field.scrollTop; backdrop.scrollLeft = field.scrollLeft; };

  const show = (answer) => {
    said.classList.toggle("error", Boolean(answer.error));
    result.classList.toggle("stale", Boolean(answer.error));
    if (answer.error) {
      const { line, column, problem } = answer.error;
      said.textContent = line ? `line ${line}, column ${column}: ${problem}` : problem;
    } else {
      said.textContent = `derived and verified in ${answer.seconds.toFixed(2)} s`;
      result.innerHTML = answer.html;
      window.gradsmith.link(result);
    }
    mark(answer.error);
  };

  // One question at a time; what was typed meanwhile is asked next.
  const ask = async () => {
    if (asking || field.value === sent) return;
    asking = true;
    sent = field.value;
    said.classList.remove("error");
    said.textContent = "deriving …";
    try {
      const reply = await fetch("derive", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text: sent }) });
      const answer = await reply.json();
      if (field.value === sent) show(answer);
    } catch {
      show({ error: { problem: "the server does not answer; is gradsmith playground still running?" } });
    }
    asking = false;
    if (field.value !== sent) ask();
  };

  const start = () => { field.value = examples[example.value]; ask(); };
  field.addEventListener("input", () => { mark(null); clearTimeout(timer); timer = setTimeout(ask, PAUSE); });
  field.addEventListener("scroll", scrolled);
  example.addEventListener("change", start);
  start();
})();
