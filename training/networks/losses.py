"""The supervised contrastive loss.

Khosla et al. 2020, "Supervised Contrastive Learning", Eq. 2 (``L_out^sup``); thesis Eq. 13. The thesis sums over
anchors; here the mean is taken, so that the learning rate does not depend on the batch size. No further factor is
applied (the authors' TensorFlow code multiplies by the temperature, their PyTorch code by temperature / 0.07).
"""

from typing import Any

import tensorflow as tf


def supervised_contrastive_loss(projections: Any, labels: Any, temperature: float = 0.1) -> Any:
    r"""Mean over anchors of thesis Eq. 13.

    .. math:: L_i = \frac{-1}{|P(i)|} \sum_{p \in P(i)} \log
              \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{a \in A(i)} \exp(z_i \cdot z_a / \tau)}

    Every view of every image is an anchor ``i`` once. ``A(i)`` is every other view in the batch, ``P(i)`` those of
    them with the anchor's label; the anchor itself is in neither. An anchor without a positive is left out of the
    mean, and a batch without any gives 0. Images and views lie on axes of their own, so that labels cannot be tiled
    in the wrong order. The arithmetic is float32 whatever the input's type.

    Args:
        projections: unit vectors, one for each view. Shape: ``(batch, views, dimension)``.
        labels: class indices. Shape: ``(batch,)``. Where every image has its own, only its views are positives, which
            is SimCLR's NT-Xent (Chen et al. 2020).
        temperature: tau, above 0; the thesis uses 0.1.

    Returns:
        Scalar float32. A collapsed batch (all projections equal) gives ``ln(batch * views - 1)``.

    Raises:
        ValueError: the temperature or a rank does not fit.

    Example:
        >>> z = tf.math.l2_normalize([[[1.0, 0.0], [0.9, 0.1]], [[0.0, 1.0], [0.1, 0.9]]], axis=-1)
        >>> bool(supervised_contrastive_loss(z, [0, 1]) < supervised_contrastive_loss(z, [0, 0]))
        True
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, expected a value above 0 (the thesis uses 0.1)")
    projections = tf.cast(projections, tf.float32)
    if projections.shape.rank != 3:
        raise ValueError(f"projections have shape {projections.shape}, expected (batch, views, dimension)")
    batch, views = tf.shape(projections)[0], tf.shape(projections)[1]
    anchors = tf.reshape(projections, (batch * views, projections.shape[2]))
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank != 1:
        raise ValueError(f"labels have shape {labels.shape}, expected (batch,)")
    classes = tf.repeat(labels, views)

    others = ~tf.eye(batch * views, dtype=tf.bool)
    positives = (classes[:, None] == classes[None, :]) & others
    similarity = tf.matmul(anchors, anchors, transpose_b=True) / temperature
    log_denominator = _log_sum_exp(similarity, others)
    log_likelihood = tf.where(positives, similarity - log_denominator[:, None], 0.0)
    positive_count = tf.reduce_sum(tf.cast(positives, tf.float32), axis=1)
    anchor_losses = -tf.math.divide_no_nan(tf.reduce_sum(log_likelihood, axis=1), positive_count)
    return tf.math.divide_no_nan(tf.reduce_sum(anchor_losses), tf.reduce_sum(tf.cast(positive_count > 0, tf.float32)))


def _log_sum_exp(values: Any, mask: Any) -> Any:
    """Row-wise log of the sum of exponentials where ``mask``; the maximum is taken there too.

    Taking the maximum over the anchor itself as well (its similarity is the largest of the row) would underflow every
    other term at a low temperature.
    """
    lowest = values.dtype.min
    row_max = tf.stop_gradient(tf.reduce_max(tf.where(mask, values, lowest), axis=1, keepdims=True))
    exponentials = tf.where(mask, tf.exp(tf.where(mask, values - row_max, 0.0)), 0.0)
    total = tf.reduce_sum(exponentials, axis=1)
    return tf.where(total > 0, tf.math.log(tf.where(total > 0, total, 1.0)) + row_max[:, 0], 0.0)
