"""t-SNE of the encoder's output, by class and, side by side, by source (thesis Figures 5.3, 5.5, 5.10 and 5.11)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from contract.classes import CELL_CLASSES
from training.data.manifest import LabelledImage
from training.evaluation.figures.palette import HEADING, SMALL, TEXT, figure, point_style, save

MOST: Final = 4000
"""Images that are shown, drawn by the seed: more would cover each other and take long."""
PERPLEXITY: Final = 30.0
COMPONENTS: Final = 50
FEWEST: Final = 5
COLLAPSED: Final = 1e-5
APART: Final = 0.045
"""Least distance of two numbers, as a share of the map."""


def t_sne(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float64] | None:
    """Two dimensions that keep neighbours together (van der Maaten and Hinton 2008), from 50 principal components.

    ``None`` for fewer than 5 images or embeddings that are all (almost) equal.
    """
    count = len(embeddings)
    if count < FEWEST or float(embeddings.std(axis=0).max()) < COLLAPSED:
        return None
    components = min(COMPONENTS, count, embeddings.shape[1])
    reduced = PCA(components, random_state=seed).fit_transform(embeddings)
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced), np.float64)


def draw_embedding_map(
    embeddings: NDArray[np.float32], images: Sequence[LabelledImage], folder: Path, name: str, title: str, seed: int
) -> Path | None:
    """Two maps of the same points, with direct numbers so that colour is never needed to name a class.

    ``None`` where :func:`t_sne` has none.
    """
    shown = np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST])
    points = t_sne(embeddings[shown], seed)
    if points is None:
        return None
    chosen = [images[index] for index in shown]
    labels = np.array([image.class_index for image in chosen])
    sources = np.array([image.source for image in chosen])
    classes = [cell for cell in CELL_CLASSES if (labels == cell.index).any()]

    drawn = figure(5.3)
    left, right = drawn.subplots(1, 2)
    by_class = [(f"{cell.index + 1}  {cell.name}", cell.index, labels == cell.index) for cell in classes]
    handles = _scatter(left, "by class", points, by_class)
    drawn.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=SMALL, frameon=False, handletextpad=0.2)
    places = _apart(np.array([_middle(points[labels == cell.index]) for cell in classes]), np.ptp(points) * APART)
    halo = [withStroke(linewidth=2.2, foreground="white")]
    for cell, (x, y) in zip(classes, places, strict=True):
        number = str(cell.index + 1)
        left.text(x, y, number, ha="center", va="center", size=TEXT, weight="bold", path_effects=halo, zorder=5)
    by_source = [(str(source), place, sources == source) for place, source in enumerate(np.unique(sources))]
    handles = _scatter(right, "by source", points, by_source)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02)}
    right.legend(handles=handles, ncols=2, fontsize=SMALL, frameon=False, **below)
    part = f", {len(points)} of {len(images)} images" if len(points) < len(images) else ""
    drawn.suptitle(f"{title}{part}", fontsize=HEADING)
    rows = (
        (image.path.name, image.label, image.source, f"{x:.3f}", f"{y:.3f}")
        for image, (x, y) in zip(chosen, points, strict=True)
    )
    return save(drawn, folder, name, ("image", "class", "source", "x", "y"), rows)


def _scatter(
    axes: Axes, heading: str, points: NDArray[np.float64], groups: Sequence[tuple[str, int, NDArray[np.bool_]]]
) -> list[Line2D]:
    """Draw groups of points (name, place in the palette, which points) and return what a legend shows of each."""
    size, handles = float(np.clip(4000 / len(points), 2.5, 14)), []
    for name, place, chosen in groups:
        colour, marker = point_style(place)
        x, y = points[chosen].T
        axes.scatter(x, y, s=size, c=colour, marker=marker, alpha=0.75, linewidths=0, rasterized=True)
        handles.append(Line2D([], [], linestyle="", color=colour, marker=marker, markersize=4, label=name))
    axes.set_title(heading, fontsize=TEXT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
    return handles


def _middle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point nearest to the median, so that a number stands on a point of its class."""
    return np.asarray(points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()])


def _apart(places: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Places moved until no two are nearer than ``distance``, or 100 times. Shape: ``(n, 2)``."""
    moved = places.copy()
    for _ in range(100):
        gaps = moved[:, None] - moved[None, :]
        lengths = np.linalg.norm(gaps, axis=2)
        near = (lengths < distance) & ~np.eye(len(moved), dtype=bool)
        if not near.any():
            break
        directions = np.where(lengths[..., None] > 0, gaps / lengths.clip(1e-9)[..., None], np.array([1.0, 0.0]))
        moved += (directions * ((distance - lengths) * near)[..., None] / 2).sum(axis=1)
    return moved
