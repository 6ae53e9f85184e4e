"""One host instance as a site: web server, admin endpoints, listeners, manual triggers."""
