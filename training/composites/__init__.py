"""Composite cells: the classes without open images, built by editing real ones, and edited controls."""
