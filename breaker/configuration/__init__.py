"""Configuration readers: app settings, host.json, local.settings.json. Standard library only."""
