"""What being watched costs a decision."""
