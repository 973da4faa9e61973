"""Does an edit leave a trace that a network could take for the class?

Composites are edited and real cells are not, so a network could name a composite class by the edit. Edited
controls (kind ``sham``) are edited in the same way and keep their class. Two probes on the embeddings tell: within a
class, can edited controls be told from real cells; and does a probe that was fitted to tell composites from real cells
take edited controls for composites?
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from contract.description import Metric
from training.data.manifest import LabelledImage
from training.evaluation.metrics import About, of_kind
from training.evaluation.probe import FOLDS, classifier, probe

SEED = 2022


def edit_probe(embeddings: NDArray[np.float32], images: Sequence[LabelledImage], about: About) -> Iterable[Metric]:
    """The probes' figures; none where the images hold no edited controls or no composites.

    ``embeddings`` are l2-normalised. Shape: ``(len(images), 2048)``.
    """
    kinds = of_kind(images)
    real, composite, sham = (np.flatnonzero(kinds == kind) for kind in ("real", "composite", "sham"))
    if not (len(real) and len(composite) and len(sham)):
        return
    chosen = np.flatnonzero(kinds != "composite")
    by_kind = [replace(images[place], source=str(kinds[place])) for place in chosen.tolist()]
    within = [found for found in probe(embeddings[chosen], by_kind, SEED).classes if found.chance is not None]
    if within:
        mean = float(np.mean([found.balanced_accuracy or 0.0 for found in within]))
        images_probed = sum(sum(found.sources.values()) for found in within)
        name = f"probe, edited control or real, mean balanced accuracy of {len(within)} classes (chance 0.5)"
        yield about.metric(name, mean, images_probed, "real images and edited controls")
    scores = _edited(embeddings, real, composite, sham)
    for name, data, edited in (
        ("probe, composite or real, area under the ROC curve", "real images and composites", composite),
        (
            "the same probe on edited controls against real, area under the ROC curve (no trace of the edit: 0.5)",
            "real images and edited controls",
            sham,
        ),
    ):
        shown = np.concatenate([edited, real])
        area = float(roc_auc_score(np.isin(shown, edited), scores[shown]))
        yield about.metric(name, area, len(shown), data)


def _edited(
    embeddings: NDArray[np.float32], real: NDArray[np.int64], composite: NDArray[np.int64], sham: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log-odds of being a composite, by probes that had not seen the image; of edited controls their mean."""
    scores = np.zeros(len(embeddings))
    both = np.concatenate([real, composite])
    target = np.repeat([0, 1], [len(real), len(composite)])
    centred = embeddings.astype(np.float64) - embeddings[both].mean(axis=0)
    scaled = centred / np.sqrt((centred[both] ** 2).sum(axis=1).mean())
    for fitted, tested in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(both, target):
        model = classifier().fit(scaled[both[fitted]], target[fitted])
        scores[both[tested]] = model.decision_function(scaled[both[tested]])
        scores[sham] += model.decision_function(scaled[sham]) / FOLDS
    return scores
