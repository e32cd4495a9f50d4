"""What happens when something breaks: a lab with the real edge and the real router, under load."""
