"""Checks of the deployment files that need neither Azure nor the Bicep compiler."""
