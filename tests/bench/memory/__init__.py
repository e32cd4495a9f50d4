"""A real router process fed with a million sessions, as the edge would: does its memory stay flat?"""
