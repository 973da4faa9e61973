"""What training and service must agree on: the classes, the bundle and the decision."""
