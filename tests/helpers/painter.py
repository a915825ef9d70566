"""A painter of films that paints nothing much, so that tests of all around it are quick."""

import torch


class Inverting:
    """Inverts colours, and mixes in a quarter of the frame painted before, which it remembers."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.memory = {}

    def paint(self, film_frames, scout, done=0, memory=None):
        before = None if memory is None else memory["before"]
        for number, frame in enumerate(film_frames):
            if number < done:
                continue
            if number == self.fails_at:
                raise ValueError("the brush broke")
            new = 255 - torch.from_numpy(frame.pixels[..., :3].copy()).float()
            before = new if before is None else torch.lerp(new, before, 0.25)
            self.memory = {"before": before}
            painted = before.round().byte().numpy()
            yield painted
