"""What runs on the controller alone: from stacks and settings to the plan that a host is given."""
