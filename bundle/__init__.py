"""What a site without a network is installed from: filled where there is one, listed in one manifest.

`manifest needs compare index platforms request` compute; the others touch files, Docker, apt and the network.
"""
