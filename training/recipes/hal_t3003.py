"""HAL-T3003, transfer learning on Xception (thesis Table 4.4).

The thesis reports a validation accuracy of 0.9056 (loss 0.3021) and a test accuracy of 0.8817 (loss 0.4297; Table 5.1),
on 76,612 and 15,374 images of 20 classes that are not public. Its validation images were of sets A and B (section 4.4),
this recipe's are of A, B and C; ``--set 'sets=["A","B"]'`` gives figures to compare. In the sanity test it reached
0.2974 on set C when trained on A and B, and 0.9212 when trained on A, B and C (Table 5.4), on set D 0.03704 and 0.1852
(Table 5.5). A GPU is wanted; on two cores use hal-t-cpu.

    hal train hal-t3003 --data datasets/mine.csv --run runs/hal-t3003
"""

from training.recipe import ThesisFigures, classifier_stage, hal_t

RECIPE = hal_t(
    "hal-t3003",
    classifier_stage("top_layer", trains_encoder=False, epochs=15, learning_rate=1e-3, batch_size=25),
    classifier_stage("fine_tuning", trains_encoder=True, epochs=5, learning_rate=1e-4, batch_size=25),
    thesis=ThesisFigures(
        validation_accuracy=0.9056,
        validation_loss=0.3021,
        test_accuracy=0.8817,
        test_loss=0.4297,
        sanity_c=(0.2974, 0.9212),
        sanity_d=(0.03704, 0.1852),
    ),
)
