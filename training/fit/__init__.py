"""From a recipe and a manifest to weights."""
