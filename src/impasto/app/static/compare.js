// The photo and what was painted, one over the other, with a line to move between them. Python
// gives {before, after, width, height}, pictures as URLs.
export default function ({ data, parentElement }) {
  const frame = parentElement.querySelector(".frame");
  const [before, after] = parentElement.querySelectorAll("img");
  const slider = parentElement.querySelector("input");
  frame.style.setProperty("--ratio", data.width / data.height);
  before.src = data.before;
  after.src = data.after;
  slider.oninput = () => frame.style.setProperty("--at", `${slider.value}%`);
  slider.oninput();
  // A photo that nothing was painted of yet is compared to itself.
  frame.classList.toggle("bare", data.before === data.after);
}
