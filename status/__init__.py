"""What the stack does now, on one screen: engines, sessions, waiting, first tokens, alerts."""
