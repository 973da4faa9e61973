"""From a bundle and a laboratory's confirmed cells to a bundle of that laboratory, without TensorFlow."""
