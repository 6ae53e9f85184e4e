"""Checks of what is deployed, as far as they go without Azure and without the Bicep compiler."""
