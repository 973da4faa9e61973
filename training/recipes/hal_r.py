"""HAL-R, Xception from random weights, as the thesis built it (section 4.2.6, Table 4.6).

In the thesis it learned the class prior and nothing else: a training accuracy of 0.08778 and loss of 2.837 after 11
epochs (Table 5.2); the loss is the entropy of its training classes (Table 4.1: 2.8371). Its test accuracy of 0.07617
(loss 2.889) is the share of the one class that it names (Table 4.2: 1171 of 15,374). The likely cause: batch
normalisation in inference mode has mean 0 and variance 1 on random weights and does nothing, so that the signal dies
out over Xception's depth. On open images it rests at the prior for an epoch and then leaves it (docs/comparison.md).
hal-r-live-bn lets batch normalisation live.

    hal train hal-r --data datasets/mine.csv --run runs/hal-r
"""

from training.recipe import ThesisFigures, classifier_stage, hal_t

RECIPE = hal_t(
    "hal-r",
    classifier_stage("training", trains_encoder=True, epochs=100, patience=3, learning_rate=1e-3, batch_size=25),
    initial_weights="random",
    thesis=ThesisFigures(training_accuracy=0.08778, training_loss=2.837, test_accuracy=0.07617, test_loss=2.889),
)
