"""What is watched and said: series, rules, alerts. Pure functions of the plan; only renderers do I/O."""
