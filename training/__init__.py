"""From labelled cell images to a bundle: data, networks, the three steps, evaluation and export."""
