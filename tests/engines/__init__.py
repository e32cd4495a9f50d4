"""A simulated vLLM engine: its API, its metric names, a real prefix cache, and time that passes as it would on a GPU.

It computes nothing: an answer is a fixed function of the prompt. What it keeps honest is what routing depends on:
how many prompt tokens were found in the cache, how long the rest takes, who waits behind whom, and what a client,
a proxy and a scraper see meanwhile. It can freeze, die, refuse and slow down on command (`POST /sim`).
"""
