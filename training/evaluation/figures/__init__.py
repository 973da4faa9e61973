"""The pictures of an evaluation: each a PNG that can be printed, with its data beside it as CSV."""
