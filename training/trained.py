"""The networks of a finished run."""

import keras

from training import networks
from training.contrastive import DONE
from training.run import Run, RunError


def load(run: Run) -> tuple[keras.Model, keras.Model]:
    """Encoder and classifier head of a run's last checkpoint, in float32.

    The encoder takes pixels 0 to 255, shape ``(n, 256, 256, 3)``, to features ``(n, 2048)``, the head takes features
    to logits ``(n, 20)``. ``set_weights`` refuses what does not fit; Keras' ``load_weights`` only warns and leaves
    layers at random.

    Raises:
        RunError: the run is not finished.
    """
    progress, groups = run.restore()
    if progress.step < DONE:
        raise RunError(
            f"{run.root} is at step {progress.step} of 3: the run is not finished; "
            f"go on with: hal train {run.recipe.name} --run {run.root} --resume"
        )
    keras.mixed_precision.set_global_policy("float32")
    encoder = networks.build_encoder(None)
    head = networks.build_classifier_head(run.recipe.classifier_step.dropout, run.recipe.seed)
    encoder.set_weights(groups["encoder"])
    head.set_weights(groups["classifier_head"][: len(head.weights)])
    return encoder, head


