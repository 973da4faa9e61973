"""Everything that knows HTTP; nothing below imports it."""
