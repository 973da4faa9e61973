"""From folders of labelled images to batches: presets, the manifest, reading and sampling."""
