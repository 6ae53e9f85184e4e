"""Readers of app settings, host.json and local.settings.json; standard library only."""
