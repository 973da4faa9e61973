"""Xception with its heads, augmentation, the loss."""
