"""Bytes to pixels ``[256, 256, 3]``, or a refusal that says why."""
