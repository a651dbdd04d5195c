"use strict";
(() => {
  const root = document.documentElement;
  const remembered = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("theme", theme); } catch { /* not kept, then */ } } };
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (remembered.get()) root.dataset.theme = remembered.get();
  for (const button of document.querySelectorAll("button.theme")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remembered.set(root.dataset.theme);
    });
  }

  // Terms and the statements that compute them: a term has its statement's id as a class.
  const anchorOf = (term) => [...term.classList].find((name) => /^(forward|backward)-\d+$/.test(name));
  const partners = (anchor) => document.querySelectorAll(`.term.${anchor}, [data-statement="${anchor}"]`);
  const light = (anchor, on) => partners(anchor).forEach((part) => part.classList.toggle("lit", on));
  const follow = (part, anchor) => {
    for (const [event, on] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
      part.addEventListener(event, () => light(anchor, on));
    }
  };
  const link = (within) => {
    for (const term of within.querySelectorAll(".term")) {
      const anchor = anchorOf(term);
      term.setAttribute("tabindex", "0");
      follow(term, anchor);
      const go = () => { location.hash = anchor; };
      term.addEventListener("click", go);
      term.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    }
    for (const statement of within.querySelectorAll("[data-statement]")) follow(statement, statement.dataset.statement);
    for (const button of within.querySelectorAll("button[data-copy]")) {
      const said = button.textContent;
      button.hidden = !navigator.clipboard;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(within.querySelector(`pre[data-name="${button.dataset.copy}"]`).textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = said; }, 1200);
      });
    }
  };
  link(document);
  window.gradsmith = { link };

  const find = document.querySelector(".find");
  if (find) {
    const cards = [...document.querySelectorAll(".card")];
    const search = () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const card of cards) card.hidden = !words.every((word) => card.dataset.words.includes(word));
      document.querySelector(".nothing").hidden = cards.some((card) => !card.hidden);
    };
    find.addEventListener("input", search);
    search();
  }
})();
