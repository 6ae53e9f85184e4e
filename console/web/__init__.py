"""HTTP plumbing: requests, responses, security headers, pages."""
