"""Campaigns: many hostile or unlucky situations, tried one after the other and counted."""
