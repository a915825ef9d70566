// Pictures to click on. Python gives {items: [{id, title, about, picture}], chosen: [id], label, strip}
// and gets back the `clicked` id.
export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".pictures");
  list.setAttribute("aria-label", data.label);
  list.classList.toggle("strip", data.strip);
  list.replaceChildren(
    ...data.items.map((item) => {
      const button = document.createElement("button");
      const image = document.createElement("img");
      const title = document.createElement("span");
      image.src = item.picture;
      image.alt = "";
      title.textContent = item.title;
      button.title = item.about ?? item.title;
      button.setAttribute("aria-pressed", data.chosen.includes(item.id));
      button.append(image, title);
      button.onclick = () => setTriggerValue("clicked", item.id);
      return button;
    }),
  );
}
