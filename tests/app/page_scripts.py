"""What the tests ask of a page, in JavaScript."""

SEEN = """(element) => {
  // How much of an element is on the screen, and not under something else: a share, from 0 to 1.
  const { left, right, top, bottom } = element.getBoundingClientRect();
  const host = element.getRootNode().host;
  let seen = 0;
  for (let row = 0; row < 20; row++)
    for (let column = 0; column < 20; column++) {
      const x = left + ((column + 0.5) / 20) * (right - left);
      const y = top + ((row + 0.5) / 20) * (bottom - top);
      const there = document.elementFromPoint(x, y);
      if (there === host || element.contains(there)) seen++;
    }
  return seen / 400;
}"""

CONTRAST = """() => {
  // The texts whose contrast is less than 4.5, with what it is. Disabled ones need none.
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) =>
    [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3])).concat(1);
  const parent = (element) => element.parentElement ?? element.getRootNode().host ?? null;
  const lineage = (element) => {
    const all = [];
    for (let one = element; one; one = parent(one)) all.push(one);
    return all;
  };
  const light = ([red, green, blue]) => {
    const linear = [red, green, blue]
      .map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const contrast = (element) => {
    const all = lineage(element);
    let background = [255, 255, 255, 1];
    // The number of a slider is within its knob, but stands above it.
    for (const one of all.filter((one) => !one.closest("[data-testid=stSlider]")).reverse())
      background = over(rgba(getComputedStyle(one).backgroundColor), background);
    const text = rgba(getComputedStyle(element).color);
    text[3] *= all.reduce((product, one) => product * getComputedStyle(one).opacity, 1);
    const [dark, bright] = [light(over(text, background)), light(background)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const off = "[disabled], :disabled, [aria-disabled=true], .stage, .frame, .unseen, style, script";
  const low = [];
  const look = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) look(element.shadowRoot);
      const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
      const words = text.map((node) => node.textContent.trim()).join(" ").trim();
      if (!words || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
        continue;
      if (lineage(element).some((one) => one.matches(off))) continue;
      const found = contrast(element);
      if (found < 4.5) low.push(`${words.slice(0, 40)}: ${found.toFixed(2)}`);
    }
  };
  look(document.body);
  return low;
}"""
