"""HAL-T3001, transfer learning on Xception (thesis Table 4.4).

The thesis reports a validation accuracy of 0.9087 (loss 0.2811) and a test accuracy of 0.8766 (loss 0.4598; Table 5.1),
on 76,612 and 15,374 images of 20 classes that are not public. Its validation images were of sets A and B (section 4.4),
this recipe's are of A, B and C; ``--set 'sets=["A","B"]'`` gives figures to compare. In the sanity test it reached
0.6138 on set C when trained on A and B, and 0.9116 when trained on A, B and C (Table 5.4), on set D 0.07407 and 0.1852
(Table 5.5). A GPU is wanted; on two cores use hal-t-cpu.

    hal train hal-t3001 --data datasets/mine.csv --run runs/hal-t3001
"""

from training.recipe import ThesisFigures, classifier_stage, hal_t

RECIPE = hal_t(
    "hal-t3001",
    classifier_stage("top_layer", trains_encoder=False, epochs=10, learning_rate=1e-3, batch_size=20),
    classifier_stage("fine_tuning", trains_encoder=True, epochs=4, learning_rate=1e-4, batch_size=20),
    thesis=ThesisFigures(
        validation_accuracy=0.9087,
        validation_loss=0.2811,
        test_accuracy=0.8766,
        test_loss=0.4598,
        sanity_c=(0.6138, 0.9116),
        sanity_d=(0.07407, 0.1852),
    ),
)
