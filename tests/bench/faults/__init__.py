"""What breaks, and how many requests of a steady load fail by it: a lab with the real edge and the real router."""
