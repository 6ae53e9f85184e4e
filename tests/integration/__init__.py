"""Tests on real Redis, Azurite and Event Hubs clients; folders mirror the packages."""
