"""What a request costs in CPU on its way through the edge and the router, beside what it costs elsewhere."""
