"""What evaluating the rules costs."""
