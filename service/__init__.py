"""Images in, 20 probabilities and a hairy-cell flag out."""
