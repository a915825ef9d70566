// Pictures to click on. Python gives {items: [{id, title, about, picture}], chosen: [id], label, strip}
// and gets back the `clicked` id.
export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".pictures");
  list.setAttribute("aria-label", data.label);
  list.classList.toggle("strip", data.strip);
  // The same pictures stay where they are, so that the keyboard's focus does.
  const key = JSON.stringify(data.items.map((item) => item.id));
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...data.items.map(made));
  }
  [...list.children].forEach((button, n) => {
    const { id } = data.items[n];
    button.setAttribute("aria-pressed", data.chosen.includes(id));
    button.onclick = () => setTriggerValue("clicked", id);
  });
}

function made(item) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  const title = document.createElement("span");
  image.src = item.picture;
  image.alt = "";
  title.textContent = item.title;
  button.title = item.about ?? item.title;
  button.append(image, title);
  return button;
}
