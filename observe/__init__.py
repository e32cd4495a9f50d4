"""What is watched and said: series, rules, alerts. Pure functions of the plan; nothing here does I/O but the renderers."""
