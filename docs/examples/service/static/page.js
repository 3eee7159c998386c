"use strict";

// Times in the time zone and the language of the reader. Without this script they are in UTC.
for (const time of document.querySelectorAll("time[datetime]")) {
  time.textContent = new Date(time.dateTime).toLocaleString();
}

// A second click on a button does not submit the form twice: a code counts once, and the page of
// the first answer would be lost.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) {
    event.preventDefault();
  }
  event.target.dataset.sent = "yes";
});

// What was shown once is not shown again when the browser keeps the page for its back button.
window.addEventListener("pagehide", () => {
  for (const secret of document.querySelectorAll("[data-secret]")) {
    secret.remove();
  }
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    window.location.replace("/");
  }
});
