"""Matrices of tokens as a picture: one panel per head."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError, require
from .matrix import View

KINDS = (".png", ".svg", ".pdf")
PANELS, ACROSS = 8, 4  # heads that are drawn, and how many side by side


def check(path: Path) -> None:
    """Raise where no picture can be drawn to this file: InputError by its name, EnvironmentGap without matplotlib."""
    if path.suffix.lower() not in KINDS:
        raise InputError(f"{path}: a picture's name ends in {', '.join(KINDS)}")
    require("matplotlib", "choose")


def draw(shown: View, path: Path, title: str) -> None:
    """The first heads' matrices; the scale is one for all, and has 0 in its middle where numbers are below it."""
    check(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heads = shown.heads.detach().float()[:PANELS]
    most, signed = max(float(heads.abs().max()), 1e-30), bool((heads < 0).any())
    across = min(ACROSS, len(heads))
    down = -(-len(heads) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(1.2 + 2.6 * across, 0.9 + 2.6 * down), layout="constrained", squeeze=False
    )
    try:
        for i, ax in enumerate(axes.flat):
            ax.set_visible(i < len(heads))
            if i < len(heads):
                drawn = ax.imshow(heads[i], "RdBu_r" if signed else "viridis", vmin=-most if signed else 0, vmax=most)
                ax.set_title(f"head {i + 1} of {len(shown.heads)}" if len(shown.heads) > 1 else "", fontsize=9)
        figure.colorbar(drawn, ax=axes, shrink=0.8, label=shown.says)
        figure.suptitle(title, fontsize=10)
        figure.supxlabel("token it comes from", fontsize=9)
        figure.supylabel("token that takes it", fontsize=9)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    finally:
        plt.close(figure)
