"""A bundle at work: opened, warmed up, reloaded, drained; images in, answers out."""
