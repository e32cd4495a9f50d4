"""How long one decision takes, octets in to octets out."""
