"""A whole stack as plain processes on loopback: real edge, real router, simulated engines. No Docker, up in seconds."""
