"""From trained networks and labelled images to figures, pictures, tests and a report."""
