"""The networks of a finished run."""

import keras

from training.fit.run import Run, RunError
from training.networks import xception as networks


def load(run: Run) -> tuple[keras.Model, keras.Model]:
    """Encoder and classifier head of a run's last checkpoint, in float32.

    The encoder takes pixels 0 to 255, shape ``(n, 256, 256, 3)``, to features ``(n, 2048)``, the head takes features
    to logits ``(n, 20)``. ``set_weights`` refuses what does not fit; Keras' ``load_weights`` only warns and leaves
    layers at random.
    """
    progress, groups = run.restore()
    stages = run.recipe.stages
    if progress.stage < len(stages):
        raise RunError(
            f"{run.root} is at stage {stages[progress.stage].name} ({progress.stage + 1} of {len(stages)}): the run is "
            f"not finished; go on with: hal train --resume {run.root}"
        )
    keras.mixed_precision.set_global_policy("float32")
    encoder = networks.build_encoder(None)
    chosen = run.recipe.classifier_head
    head = networks.build_classifier_head(chosen.dropout, run.recipe.seed, chosen.normalised)
    encoder.set_weights(groups["encoder"])
    head.set_weights(groups["classifier_head"][: len(head.weights)])
    return encoder, head
