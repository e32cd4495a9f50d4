"""Routing on engines that already run, in real time."""
