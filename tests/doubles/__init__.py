"""Servers on loopback that check what they are sent, by their services' documentation."""
