"use strict";
for (const figure of document.querySelectorAll("figure.compare")) {
  const pair = figure.querySelector(".pair");
  const slider = figure.querySelector("input[type=range]");
  const place = () => {
    pair.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % " + pair.dataset.left);
  };
  slider.addEventListener("input", place);
  figure.addEventListener("change", (event) => {
    const { name, value } = event.target;
    if (name.startsWith("zoom")) {
      pair.style.setProperty("--zoom", value);
      for (const image of pair.querySelectorAll("img")) image.classList.toggle("near", value > 1);
    } else if (name.startsWith("left")) {
      for (const image of pair.querySelectorAll(".over")) image.hidden = image.dataset.name !== value;
      pair.dataset.left = value;
      place();
    }
  });
  place();
}
for (const head of document.querySelectorAll("thead")) {
  const body = head.parentElement.querySelector("tbody");
  head.querySelectorAll("button").forEach((button, column) => button.addEventListener("click", () => {
    const rising = button.getAttribute("aria-pressed") !== "true";
    for (const other of head.querySelectorAll("button")) other.removeAttribute("aria-pressed");
    button.setAttribute("aria-pressed", String(rising));
    const text = (row) => row.children[column].textContent;
    const order = (a, b) => a.localeCompare(b, undefined, { numeric: true });
    const number = (row) => Number(text(row));
    const rows = [...body.rows].sort((a, b) =>
      Number.isNaN(number(a)) || Number.isNaN(number(b)) ? order(text(a), text(b)) : number(a) - number(b));
    body.append(...(rising ? rows : rows.reverse()));
  }));
}
