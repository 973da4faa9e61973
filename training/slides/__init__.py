"""What the slide rule does on slides whose truth is known."""
