// A picture opens large over the page, where its letters can be read on a phone. Without this script, its link opens
// the picture alone.
addEventListener("DOMContentLoaded", () => {
  const links = document.querySelectorAll(".bd-article a.picture");
  if (!links.length || !window.HTMLDialogElement) return;
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", "Enlarged picture");
  dialog.innerHTML = `<button type="button">Close</button>
<div class="area" tabindex="0" role="group" aria-label="Picture; scrolls in both directions"><img alt=""></div>`;
  const [button, area] = dialog.children;
  const large = area.firstElementChild;
  button.addEventListener("click", () => dialog.close());
  area.addEventListener("click", () => dialog.close());
  // A browser closes it by itself, unless another script takes the key: the theme does.
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && dialog.close());
  document.body.append(dialog);

  function enlarge(link, event) {
    const small = link.querySelector("img");
    Object.assign(large, { src: link.href, alt: small.alt });
    large.style.setProperty("--ratio", small.naturalWidth / small.naturalHeight);
    dialog.showModal();
    area.focus();
    // What was tapped comes to the middle; the keyboard begins at the top left.
    const box = small.getBoundingClientRect();
    const [x, y] = event.detail ? [event.clientX - box.left, event.clientY - box.top] : [0, 0];
    area.scrollLeft = (x / box.width) * large.offsetWidth - area.clientWidth / 2;
    area.scrollTop = (y / box.height) * large.offsetHeight - area.clientHeight / 2;
  }

  for (const link of links) {
    link.setAttribute("aria-haspopup", "dialog");
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab or window was asked for
      event.preventDefault();
      enlarge(link, event);
    });
  }
});
