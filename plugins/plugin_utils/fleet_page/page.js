"use strict";
(function () {
  const made = Date.parse(document.getElementById("made").dateTime);
  const age = document.getElementById("age");
  const old = document.getElementById("old");
  const DAY = 86400;

  function span(seconds) {
    for (const [length, name] of [[DAY, "day"], [3600, "hour"], [60, "minute"]]) {
      const number = Math.floor(seconds / length);
      if (number >= 1) return number + " " + name + (number === 1 ? "" : "s");
    }
    return "less than a minute";
  }

  function showAge() {
    const seconds = (Date.now() - made) / 1000;
    age.textContent = seconds < -300 ? ", which this machine's clock has not reached yet" : ", " + span(Math.max(0, seconds)) + " ago";
    if (seconds > DAY) {
      old.textContent = "This report is " + span(seconds) + " old. What it says may be over; run status.yml again.";
      old.hidden = false;
      document.title = old.textContent;
    }
  }

  showAge();
  setInterval(showAge, 60000);

  const form = document.getElementById("filter");
  const input = document.getElementById("words");
  const matches = document.getElementById("matches");
  const clients = Array.from(document.querySelectorAll(".client"), function (element) {
    return { element: element, text: element.textContent.toLowerCase() };
  });

  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const client of clients) {
      client.element.hidden = !words.every(function (word) { return client.text.includes(word); });
      number += client.element.hidden ? 0 : 1;
    }
    matches.textContent = words.length ? number + " of " + clients.length : "";
  }

  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  input.addEventListener("input", filter);
  filter(); // a browser keeps what was typed when the page is loaded again
})();
