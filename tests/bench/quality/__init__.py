"""How well requests are routed, in virtual time: the real router's fleet over the simulated engine's own scheduler."""
