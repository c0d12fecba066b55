"""Small real data sets of every kind, as files that the readers open."""

import csv
import math
import random

import numpy as np
import pytest

from panformer.choose.trial import opened


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """One small file per kind of data."""
    root = tmp_path_factory.mktemp("data")
    rng = random.Random(1)
    with (root / "farm.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["soil", "rain", "heat", "crop", "yield"])
        for _ in range(160):
            soil, rain, heat = rng.choice(["clay", "sand", "loam"]), rng.gauss(600, 150), rng.gauss(15, 5)
            score = (soil == "clay") + (rain - 600) / 150
            row = [soil, round(rain, 1) if rng.random() > 0.05 else "", round(heat, 2)]
            rows.writerow([*row, "rice" if score > 0.3 else "millet", round(score * 3 + rng.gauss(0, 0.2), 3)])
    with (root / "notes.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["text", "label"])
        for i in range(90):
            good = i % 2
            words = [
                rng.choice("great lovely fine warm".split() if good else "awful poor cold bad".split())
                for _ in range(4)
            ]
            rows.writerow(
                [" ".join([*words, rng.choice(["today", "again", "here"]), str(i)]), "good" if good else "bad"]
            )
    with (root / "tide.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["time", "north", "south"])
        for t in range(400):
            waves = [math.sin(2 * math.pi * t / 24 + k) + 0.1 * rng.gauss(0, 1) for k in (0, 1)]
            rows.writerow([f"2020-01-{1 + t // 24:02d}T{t % 24:02d}:00:00", *(round(w, 4) for w in waves)])
    (root / "tale.txt").write_text(
        "".join(f"line {i}: the cat sat on the {rng.choice(['mat', 'hat'])}\n" for i in range(400))
    )
    noise = np.random.default_rng(0)
    images = noise.random((80, 8, 8)).astype(np.float32)
    labels = np.arange(80) % 2
    images[labels == 1, :4] += 0.5
    np.savez(root / "tiles.npz", x=(np.clip(images, 0, 1) * 255).astype(np.uint8), y=labels)
    waves = noise.normal(size=(80, 20, 3)).astype(np.float32) + labels[:, None, None]
    np.savez(root / "waves.npz", x=waves, y=labels)
    return root


@pytest.fixture(scope="session")
def data(files):
    """The same, opened: table, text, series, language, images, frames, and a regression."""
    wishes = {
        "table": ("farm.csv", {"target": "crop"}), "regression": ("farm.csv", {"target": "yield"}),
        "text": ("notes.csv", {"target": "label"}), "series": ("tide.csv", {"horizon": 6}),
        "language": ("tale.txt", {}), "image": ("tiles.npz", {}), "frames": ("waves.npz", {}),
    }  # fmt: skip
    return {kind: opened(str(files / name), wish) for kind, (name, wish) in wishes.items()}
